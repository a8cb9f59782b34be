//! Which pages each configuration allows, and which entries are rejected.

use proptest::prelude::*;

use super::*;

fn origins(entries: &[&str]) -> Result<Origins, OriginError> {
    entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>().try_into()
}

#[track_caller]
fn check(entries: &[&str], origin: &str, allowed: bool) {
    let origins = origins(entries).expect("the entries are origins");
    assert_eq!(origins.allow(origin, Some("push.example:8080")), allowed, "{entries:?}, {origin:?}");
}

#[track_caller]
fn check_refused(entry: &str, reason: &str) {
    let error = origins(&[entry]).expect_err("the entry cannot match").to_string();
    assert!(error.contains(reason) && error.contains(entry), "{entry:?}: {error}");
}

#[test]
fn origins_are_compared_by_scheme_host_and_port() {
    let shop = &["https://Shop.example:443", "http://[0:0::1]:3000", "app://main"];
    for origin in [
        "https://shop.example",
        "HTTPS://SHOP.EXAMPLE",
        "https://shop.example:443",
        "http://[::1]:3000",
        "app://main",
    ] {
        check(shop, origin, true);
    }
    for origin in [
        "http://shop.example",
        "https://shop.example:8443",
        "https://shop.example.evil.example",
        "https://evil-shop.example",
        "http://[::1]",
        "null",
        "",
    ] {
        check(shop, origin, false);
    }
}

#[test]
fn one_leading_label_may_be_open() {
    let shops = &["https://*.shop.example"];
    check(shops, "https://a.shop.example", true);
    check(shops, "https://A.SHOP.example:443", true);
    check(shops, "https://shop.example", false);
    check(shops, "https://a.b.shop.example", false);
    check(shops, "https://ashop.example", false);
    check(shops, "https://.shop.example", false);
    check(shops, "http://a.shop.example", false);
}

#[test]
fn pages_of_the_server_itself_may_connect() {
    check(&[], "http://push.example:8080", true);
    check(&[], "http://PUSH.example:8080", true);
    check(&[], "http://push.example", false);
    let none = Origins::default();
    assert!(none.allow("https://push.example", Some("push.example")), "TLS ends before this server");
    assert!(none.allow("http://push.example:80", Some("push.example")));
    assert!(!none.allow("http://push.example", None));
}

#[test]
fn null_and_every_page_are_allowed_only_if_listed() {
    check(&[], "null", false);
    check(&["null"], "null", true);
    check(&["*"], "null", true);
    check(&["*"], "https://any.example", true);
}

#[test]
fn loopback_is_any_port_of_this_machine() {
    let mut local = Origins::default();
    local.allow_loopback();
    for origin in ["http://localhost:5173", "https://127.0.0.1", "http://127.8.8.8:1", "http://[::1]:3000"] {
        assert!(local.allow(origin, None), "{origin}");
    }
    for origin in
        ["http://localhost.evil.example", "http://127.0.0.1.evil.example", "http://10.0.0.1", "null"]
    {
        assert!(!local.allow(origin, None), "{origin}");
    }
}

#[test]
fn an_entry_that_cannot_match_is_refused_with_the_reason() {
    check_refused("shop.example", "starts with a scheme");
    check_refused("https://shop.example/", "without a slash");
    check_refused("https://shop.example/app", "without a slash");
    check_refused("wss://shop.example", "starts with http:// or https://");
    check_refused("https://u@shop.example", "user name");
    check_refused("https://", "host is missing");
    check_refused("https://münchen.example", "xn--");
    check_refused("https://shop.example:99999", "port");
    check_refused("http://localhost:*", "`*` stands for one whole label");
    check_refused("https://*shop.example", "`*` stands for one whole label");
    check_refused("https://*.127.0.0.1", "`*` stands for one whole label");
    check_refused("", "starts with a scheme");
}

proptest! {
    #[test]
    fn every_accepted_entry_matches_the_page_it_names(
        scheme in "https?", host in "[a-zA-Z0-9]{1,8}(\\.[a-z]{1,8}){0,2}", port in proptest::option::of(1..=65535_u16),
    ) {
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        let entry = format!("{scheme}://{host}{port}");
        let origins = origins(&[&entry]).expect("it is an origin");
        prop_assert!(origins.allow(&entry.to_lowercase(), None));
        let longer = format!("{}.evil.example{}", entry.trim_end_matches(&port), port);
        prop_assert!(!origins.allow(&longer, None));
    }

    #[test]
    fn no_text_is_too_odd_to_compare(text in ".{0,60}", host in ".{0,30}") {
        let none = Origins::default();
        let own = none.allow(&text, Some(&host));
        prop_assert!(!own || text.to_ascii_lowercase().contains("://"));
    }
}
