//! Parses times in RFC 3339, in UTC or with an offset.

use std::time::{Duration, SystemTime};

/// Parses a time in UTC, or with an offset.
pub(super) fn parse_time(text: &str) -> Option<SystemTime> {
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        return Some(time);
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (sign, (hours, minutes)) = (offset.get(..1)?, offset.get(1..)?.split_once(':')?);
    let number = |digits: &str, most: u64| {
        let is_number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|number| is_number && *number <= most)
    };
    let offset = Duration::from_secs(number(hours, 23)? * 3_600 + number(minutes, 59)? * 60);
    let local = humantime::parse_rfc3339_weak(local).ok()?;
    match sign {
        "+" => local.checked_sub(offset),
        "-" => local.checked_add(offset),
        _ => None,
    }
}

/// Returns whether text looks like a time of day, such as 02:20.
pub(super) fn is_time_of_day(text: &str) -> bool {
    let number = |digits: &str, most: u8| {
        let is_number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number && digits.parse().is_ok_and(|number: u8| number <= most)
    };
    text.split_once(':').is_some_and(|(hours, minutes)| number(hours, 23) && number(minutes, 59))
}
