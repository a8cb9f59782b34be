//! Progress bars on standard error; silent if that is not a terminal.

use std::fmt;

use indicatif::{ProgressBar, ProgressStyle};

use crate::interval::Count;

/// The progress of a stage of the run.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Starts a stage with `length` steps.
    pub(crate) fn new(part: &'static str, length: u64) -> Self {
        let bar = ProgressBar::new(length).with_prefix(part);
        if let Ok(style) =
            ProgressStyle::with_template("{prefix:>10} [{bar:40}] {human_pos}/{human_len} {msg}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar }
    }

    /// Shows the number of completed steps.
    pub(crate) fn at(&self, steps: u64) {
        self.bar.set_position(steps);
    }

    /// Shows the deliveries received so far.
    pub(crate) fn received(&self, count: Count) {
        let Count { deliveries, .. } = count;
        self.bar.set_message(format!("{deliveries} deliveries, {:.0}/s", self.rate(deliveries)));
    }

    fn rate(&self, deliveries: u64) -> f64 {
        let millis = u64::try_from(self.bar.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let rate = deliveries as f64 * 1000.0 / millis as f64;
        rate
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, all) = (self.bar.position(), self.bar.length().unwrap_or_default());
        write!(f, "{}, {done} of {all}", self.bar.prefix())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
