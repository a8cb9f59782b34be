//! Arithmetic with figures that may be missing.

/// Divides; `None` when the divisor is 0.
pub(crate) fn ratio(of: f64, by: f64) -> Option<f64> {
    (by > 0.0).then(|| of / by)
}

/// Divides figures that may be missing.
pub(crate) fn quotient(of: Option<f64>, by: Option<f64>) -> Option<f64> {
    ratio(of?, by?)
}

/// Returns the median (the mean of the middle two); `None` when a figure is missing, because the
/// median of the others would hide that.
pub(crate) fn median(figures: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    let mut figures = figures.into_iter().collect::<Option<Vec<f64>>>()?;
    figures.sort_by(f64::total_cmp);
    let (low, high) = (figures.len().checked_sub(1)? / 2, figures.len() / 2);
    Some(f64::midpoint(figures[low], figures[high]))
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
pub(crate) fn count(number: u64) -> f64 {
    number as f64
}

/// Formats a figure; `–` when it is missing.
pub(crate) fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_whatever_the_order() {
        assert_eq!(median([Some(3.0), Some(1.0), Some(2.0)]), Some(2.0));
        assert_eq!(median([Some(4.0), Some(1.0)]), Some(2.5));
    }

    #[test]
    fn missing_figures_give_no_result() {
        assert_eq!(median([Some(1.0), None]), None);
        assert_eq!(median([]), None);
        assert_eq!(quotient(Some(1.0), None), None);
        assert_eq!(quotient(Some(1.0), Some(0.0)), None);
        assert_eq!(figure(None, 1), "–");
    }
}
