//! The memory that the windows of all partitions share.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::log::conflation::SurveyKeys;

/// The memory that the windows of all partitions may hold together.
#[derive(Debug)]
pub(crate) struct WindowBudget {
    pub(super) used: AtomicUsize,
    max: usize,
    survey_keys: Arc<SurveyKeys>,
}

impl WindowBudget {
    /// How many keys the surveys of all channels may have: some 40 bytes each.
    const SURVEY_KEYS_MAX: usize = 1_000_000;

    pub(crate) fn new(max: usize) -> Arc<Self> {
        let survey_keys = SurveyKeys::new(Self::SURVEY_KEYS_MAX);
        Arc::new(Self { used: AtomicUsize::new(0), max, survey_keys })
    }

    /// How many keys are known of stretches that conflated subscribers have to catch up on.
    pub(crate) fn survey_keys(&self) -> &Arc<SurveyKeys> {
        &self.survey_keys
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }
}
