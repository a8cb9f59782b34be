//! All results, and the verdict.

use std::{
    io::{self, Write as _},
    mem,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    MISSED, fan_out::FanOut, headline::Headline, idle::Idle, machine::Machine, resume::Resume,
    summary::Summary, table::Table, vary::Vary,
};
use crate::{
    output,
    report::{Report, Verdict as LoadVerdict},
};

/// The exit code when no bound was missed but one was not judged: as loadgen without a verdict.
const NOT_JUDGED: u8 = 98;

/// All results.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    machine: Machine,
    fan_out: Vec<FanOut>,
    vary: Vec<Vary>,
    idle: Option<Idle>,
    resume: Option<Resume>,
    /// The overall verdict.
    verdict: Verdict,
    /// The file that everything is written to after each benchmark, so that a failure at the end
    /// does not lose two hours of results.
    #[serde(skip)]
    json: Option<PathBuf>,
}

/// The overall verdict, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Kept,
    /// No bound was missed, but one was not judged because loadgen was saturated.
    NotJudged,
    /// A bound was missed.
    Missed,
    /// Something was lost, repeated, out of order or corrupt, or a run was not completed.
    Violated,
}

impl Results {
    /// Creates empty results for this machine. Writes them to the file, if there is one.
    pub(crate) fn new(json: Option<&Path>) -> Result<Self> {
        let results = Self {
            machine: Machine::this(),
            fan_out: Vec::new(),
            vary: Vec::new(),
            idle: None,
            resume: None,
            verdict: Verdict::Kept,
            json: json.map(Path::to_owned),
        };
        results.save()?;
        Ok(results)
    }

    pub(crate) fn fan_out(&mut self, found: FanOut) -> Result<()> {
        self.show(&found)?;
        self.fan_out.push(found);
        self.save()
    }

    pub(crate) fn vary(&mut self, found: Vary) -> Result<()> {
        self.show(&found)?;
        self.vary.push(found);
        self.save()
    }

    pub(crate) fn idle(&mut self, found: Idle) -> Result<()> {
        self.show(&found)?;
        self.idle = Some(found);
        self.save()
    }

    pub(crate) fn resume(&mut self, found: Resume) -> Result<()> {
        self.show(&found)?;
        self.resume = Some(found);
        self.save()
    }

    /// Prints the summary, and returns the exit code.
    pub(crate) fn conclude(&self) -> Result<ExitCode> {
        writeln!(io::stdout(), "### Summary\n\n{}\n\n{}", self.machine, self.summary())
            .context("the results cannot be written")?;
        Ok(match self.verdict {
            Verdict::Kept => ExitCode::SUCCESS,
            Verdict::NotJudged => ExitCode::from(NOT_JUDGED),
            Verdict::Missed => ExitCode::from(MISSED),
            Verdict::Violated => ExitCode::FAILURE,
        })
    }

    fn save(&self) -> Result<()> {
        self.json.as_deref().map_or(Ok(()), |path| output::save(self, path))
    }

    /// Returns one table with all key figures.
    fn summary(&self) -> Table {
        let mut all: Vec<&dyn Summary> = Vec::new();
        all.extend(self.fan_out.iter().map(|found| found as &dyn Summary));
        all.extend(self.idle.iter().map(|found| found as &dyn Summary));
        all.extend(self.resume.iter().map(|found| found as &dyn Summary));
        all.extend(self.vary.iter().map(|found| found as &dyn Summary));
        let mut table = Table::new(&["of", "figure", "found", "bound"]);
        for found in all {
            let mut title = found.title();
            for headline in found.headlines() {
                // The title is shown once, in its first row.
                let of = mem::take(&mut title);
                table.row(vec![of, headline.what.clone(), headline.value(), headline.bound()]);
            }
        }
        table
    }

    /// Prints a table, its bounds, and the problems of its runs.
    fn show(&mut self, found: &dyn Summary) -> Result<()> {
        let (headlines, runs) = (found.headlines(), found.runs());
        let mut text = format!("### {}\n\n{found}\n", found.title());
        let mut line = |line: String| text.push_str(&format!("- {line}\n"));
        for headline in headlines {
            line(headline.to_string());
        }
        for run in &runs {
            for reason in &run.loadgen.saturated {
                line(format!("loadgen was saturated, so latencies are partly its own: {reason}"));
            }
            for incident in &run.incidents {
                line(format!("NOT COMPLETED: {incident}"));
            }
        }
        let verdict = Verdict::of(headlines, &runs);
        if verdict == Verdict::Violated {
            line(
                "NOT CLEAN: records were lost, repeated, out of order or corrupt, or a run was not completed"
                    .to_owned(),
            );
        }
        self.verdict = self.verdict.max(verdict);
        writeln!(io::stdout(), "{text}").context("the results cannot be written")
    }
}

impl Verdict {
    fn of(headlines: &[Headline], runs: &[&Report]) -> Self {
        if !runs.iter().all(|run| run.verdict != LoadVerdict::Violated) {
            Self::Violated
        } else if headlines.iter().any(Headline::is_missed) {
            Self::Missed
        } else if headlines.iter().any(Headline::is_not_judged) {
            Self::NotJudged
        } else {
            Self::Kept
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{fan_out, idle, resume, round, vary};

    #[test]
    fn an_unwritable_file_is_reported_before_anything_is_measured() {
        // This used to be detected after everything had been measured, and all results were lost.
        let found = Results::new(Some(Path::new("/proc/no/such/folder.json")));
        assert!(found.is_err_and(|error| error.to_string().contains("cannot be written")));
    }

    fn full() -> Results {
        let mut results = Results::new(None).expect("nothing is written");
        results.fan_out.push(fan_out::sample(round::sample(10.0, 12.0, 9_000)));
        results.fan_out.push(fan_out::sample(round::saturated(10.0, 12.0, 9_000)));
        results.vary.push(vary::sample());
        results.idle = Some(idle::sample());
        results.resume = Some(resume::sample());
        results
    }

    #[track_caller]
    fn check(results: &Results) {
        let json = serde_json::to_value(results).expect("figures are JSON");
        assert_eq!(crate::schema::violations("bench", &json), Vec::<String>::new());
    }

    #[test]
    fn results_conform_to_their_schema() {
        check(&full());
        check(&Results::new(None).expect("nothing is written"));
    }

    #[test]
    fn the_summary_has_a_line_for_each_headline() {
        let summary = full().summary().to_string();
        assert!(summary.contains("| S1: 12000 connections"), "{summary}");
        assert!(summary.contains(" CPU per delivery, × floor |"), "{summary}");
        assert!(summary.contains("≤ 1.35 ✓ |"), "{summary}");
        assert!(summary.contains("CPU per delivery at 4000, × the smallest |"), "{summary}");
        assert!(summary.contains("resumes per second, 1000 behind"), "{summary}");
    }

    #[test]
    fn violations_take_precedence_over_missed_bounds() {
        let missed = [Headline::at_most("x", None, 1.0)];
        let clean = round::sample(1.0, 1.0, 1).node;
        let violated = round::violated();
        assert_eq!(Verdict::of(&[], &[&clean]), Verdict::Kept);
        assert_eq!(Verdict::of(&missed, &[&clean]), Verdict::Missed);
        assert_eq!(Verdict::of(&missed, &[&clean, &violated]), Verdict::Violated);
    }

    #[test]
    fn an_unjudged_bound_is_not_kept_and_hides_no_missed_one() {
        let of = |headlines: &[Headline]| Verdict::of(headlines, &[]);
        let not_judged = || Headline::at_most("x", Some(9.0), 1.0).not_judged("it was late");
        assert_eq!(of(&[not_judged()]), Verdict::NotJudged);
        assert_eq!(of(&[Headline::at_most("y", Some(2.0), 1.0), not_judged()]), Verdict::Missed);
        assert!(Verdict::Kept < Verdict::NotJudged);
    }
}
