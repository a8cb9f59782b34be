//! A distribution in the text form that HdrHistogram's tools plot: value, percentile, count, 1/(1-percentile).

use std::io::{self, Write};

use crate::{interval::Distribution, report::float};

/// How many lines there are between a percentile and the one that is half as far from 100 %.
const TICKS_PER_HALVING: u32 = 5;

/// Writes a distribution of microseconds, in milliseconds.
pub(crate) fn write(distribution: &Distribution, out: &mut dyn Write) -> io::Result<()> {
    let histogram = &distribution.0;
    writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    for step in histogram.iter_quantiles(TICKS_PER_HALVING) {
        let (value, quantile) = (float(step.value_iterated_to()) / 1e3, step.quantile());
        // The last has no reciprocal: it is everything.
        let far = if quantile < 1.0 { format!("{:14.2}", 1.0 / (1.0 - quantile)) } else { String::new() };
        let total = histogram.count_between(0, step.value_iterated_to());
        writeln!(out, "{value:12.3} {quantile:14.12} {total:10} {far}")?;
    }
    writeln!(
        out,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n#[Max     = {:12.3}, Total count    = {:12}]\n\
         #[Buckets = {:12}, SubBuckets     = {:12}]",
        histogram.mean() / 1e3,
        histogram.stdev() / 1e3,
        float(histogram.max()) / 1e3,
        histogram.len(),
        histogram.buckets(),
        // What three significant digits take.
        2048
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_the_plotters_read() {
        let mut distribution = Distribution::new();
        (1..=1000).for_each(|ms| distribution.record(ms * 1000));
        let mut text = Vec::new();
        write(&distribution, &mut text).expect("a vector takes it");
        let text = String::from_utf8(text).expect("it is text");
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .take_while(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|field| field.parse().expect("a number")).collect())
            .collect();
        let median = rows.iter().find(|row| row[1] >= 0.5).expect("there is a median");
        assert!((median[0] - 500.0).abs() < 1.0 && (median[2] - 500.0).abs() < 2.0, "{median:?}");
        assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1]));
        assert_eq!(rows.last().map(|row| (row.len(), row[2])), Some((3, 1000.0)));
        assert!(text.contains("#[Mean    =      500."), "{text}");
    }
}
