//! What a misspelt name may have meant.

/// The name that is nearest, if it is near enough to be a slip of the fingers.
pub(super) fn nearest(found: &str, names: &'static [&'static str]) -> Option<&'static str> {
    let near = names.iter().map(|name| (distance(found, name), *name)).min()?;
    (near.0 <= 1 + found.len() / 4).then_some(near.1)
}

/// How many characters have to be put in, left out or replaced (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_is_recognised_and_another_word_is_not() {
        let names = &["listen", "window_bytes_max", "brokers"];
        assert_eq!(nearest("lisen", names), Some("listen"));
        assert_eq!(nearest("broker", names), Some("brokers"));
        assert_eq!(nearest("window_byte_max", names), Some("window_bytes_max"));
        assert_eq!(nearest("colour", names), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
