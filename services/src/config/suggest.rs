//! The known name that a misspelt one probably stands for.

/// Returns the nearest name, if it is near enough to be a typing mistake.
pub(super) fn nearest(found: &str, names: &'static [&'static str]) -> Option<&'static str> {
    let nearest = names.iter().map(|name| (strsim::levenshtein(found, name), *name)).min()?;
    (nearest.0 <= 1 + found.len() / 4).then_some(nearest.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_is_recognised_and_another_word_is_not() {
        let names = &["listen", "window_bytes_max", "brokers"];
        assert_eq!(nearest("lisen", names), Some("listen"));
        assert_eq!(nearest("broker", names), Some("brokers"));
        assert_eq!(nearest("window_byte_max", names), Some("window_bytes_max"));
        assert_eq!(nearest("colour", names), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
