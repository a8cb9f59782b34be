//! `docs/limits.md` has every key that is a number or a duration, with its default.

use std::collections::BTreeMap;

use super::read;

#[test]
fn every_documented_limit_is_a_key_with_its_default() {
    let keys = keys(&read("src/default.toml"));
    let wrong: Vec<_> = limits(&read("docs/limits.md"))
        .into_iter()
        .filter_map(|(key, documented)| match keys.get(&key) {
            None => Some(format!("`{key}` is not a key of src/default.toml")),
            Some(default) if *default != documented => {
                Some(format!("`{key}` is {default} by default, not {documented}"))
            }
            Some(_) => None,
        })
        .collect();
    assert!(wrong.is_empty(), "docs/limits.md is wrong:\n{}", wrong.join("\n"));
}

#[test]
fn every_number_and_duration_is_documented() {
    let limits = limits(&read("docs/limits.md"));
    let keys = keys(&read("src/default.toml"));
    let undocumented: Vec<_> =
        keys.keys().filter(|key| !limits.iter().any(|(documented, _)| documented == *key)).collect();
    assert!(undocumented.is_empty(), "docs/limits.md does not have {undocumented:#?}");
}

#[test]
fn values_are_read_as_they_are_written() {
    let check = |documented: &str, expected: &str| assert_eq!(value(documented), expected);
    check("15,000", "15000");
    check("65,536 B", "65536");
    check("128 MiB/s", "134217728");
    check("0 (no limit)", "0");
    check("250 ms", "250ms");
    let found =
        keys("# [no]\n[a.b]\nlisten = \"127.0.0.1:80\"\non = true\nmax = 4194304\nwithin = \"25s\"\n");
    let expected = [("a.b.max", "4194304"), ("a.b.within", "25s")];
    assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
}

/// Returns the full keys whose value is a number or a duration.
fn keys(defaults: &str) -> BTreeMap<String, String> {
    let mut section = "";
    let mut keys = BTreeMap::new();
    for line in defaults.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            let value = value.trim_matches('"');
            let (number, unit) = split(value);
            if !number.is_empty() && ["", "ms", "s", "m", "h"].contains(&unit) {
                keys.insert(format!("{section}.{key}"), value.to_owned());
            }
        }
    }
    assert!(!keys.is_empty(), "there are no keys");
    keys
}

/// The key and the default in each row of a table.
fn limits(document: &str) -> Vec<(String, String)> {
    let limits: Vec<_> = document
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            Some((cells.next()?.trim_end_matches('`').to_owned(), value(cells.next()?)))
        })
        .collect();
    assert!(limits.len() > 10, "only {limits:?}");
    limits
}

/// Returns a documented value in the form of `src/default.toml`.
fn value(documented: &str) -> String {
    let written = documented.split(" (").next().unwrap_or_default().replace([' ', ','], "");
    let (number, unit) = split(&written);
    match unit.trim_end_matches("/s") {
        "B" => number.to_owned(),
        "MiB" => number.parse::<u64>().map_or(written, |number| (number << 20).to_string()),
        _ => written,
    }
}

/// Splits a value into digits and unit.
fn split(value: &str) -> (&str, &str) {
    value.split_at(value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len()))
}
