//! Reading metrics in Prometheus' text format.

/// Returns the sum of a metric over its series whose labels contain `label`; 0 if there is none.
///
/// # Panics
///
/// When its value is not a number.
pub fn sum_of(exposition: &str, name: &str, label: &str) -> f64 {
    let value = |line: &str| {
        let (metric, value) = line.rsplit_once(' ')?;
        let of = metric.split('{').next()?;
        (of == name && metric.contains(label)).then(|| value.parse::<f64>().expect("a metric is a number"))
    };
    exposition.lines().filter_map(value).sum()
}
