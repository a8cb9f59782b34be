//! Imports between the modules of a crate: no circles, and in `push` only from a room to those
//! below it.
//!
//! Found in the text of the sources: `use` trees and paths that begin with `crate`, `self` or
//! `super`. Two modules of the same parent are compared including their children, so a parent and
//! its child may import each other. Test modules may import anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::{read, root, sources};

/// Source folders of the crates.
const CRATES: [&str; 8] = [
    "proto/src",
    "services/src",
    "ingest/src",
    "push/src",
    "clients/rust/src",
    "loadgen/src",
    "src",
    "tests/src",
];

/// The rooms of `push`, each above those that it may import from. Modules outside of them are above
/// all.
const ROOMS: [&str; 9] = ["edge", "session", "cursor", "node", "kafka", "partition", "log", "wake", "record"];

/// Above all rooms: modules for benchmarks, which drive sessions without sockets.
const BENCHMARKS: [&str; 2] = ["benchmarks", "session::benchmarks"];

type Module = Vec<String>;

#[test]
fn no_modules_import_each_other() {
    let circles: Vec<_> = CRATES
        .iter()
        .flat_map(|source| {
            circles(&imports(&root().join(source)))
                .into_iter()
                .map(move |circle| format!("{source}: {circle}"))
        })
        .collect();
    assert!(circles.is_empty(), "modules import each other:\n{}", circles.join("\n"));
}

#[test]
fn rooms_of_push_import_from_below_only() {
    let floor =
        |module: &Module| ROOMS.iter().position(|room| module.first().is_some_and(|first| first == room));
    let imports = imports(&root().join("push/src"));
    let upward: Vec<_> = imports
        .iter()
        .filter(|(from, to)| match (floor(from), floor(to)) {
            (Some(from), Some(to)) => to < from,
            // Configuration, metrics and the clock are below every room; the modules that connect
            // the rooms are above.
            (Some(_), None) => to.first().is_some_and(|first| first == "push" || first == "benchmarks"),
            (None, _) => false,
        })
        .map(|(from, to)| format!("{} imports {}", from.join("::"), to.join("::")))
        .collect();
    assert!(upward.is_empty(), "imports point up:\n{}", upward.join("\n"));
    let rooms: BTreeSet<_> = imports.iter().filter_map(|(from, _)| floor(from)).collect();
    assert!(rooms.len() >= ROOMS.len() - 2, "imports were found in rooms {rooms:?} only");
}

#[test]
fn the_architecture_lists_the_rooms_of_push_in_their_order() {
    let text = read("ARCHITECTURE.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `push/src/")?.split_once(".rs` |"));
    let listed: Vec<_> = rows.map(|(room, _)| room).collect();
    assert_eq!(listed, ROOMS);
}

#[test]
fn imports_are_read_from_every_form() {
    let check = |source: &str, expected: &[&str]| {
        let modules = ["", "a", "a::b", "a::c", "d"].map(module).into();
        let found: BTreeSet<_> = targets(source, &module("a::b"), &modules).map(|to| to.join("::")).collect();
        assert_eq!(found, expected.iter().map(|name| (*name).to_owned()).collect(), "{source}");
    };
    check("use crate::d::Thing;", &["d"]);
    check("use crate::{a::c::{self, X}, d};", &["a::c", "d"]);
    check("use super::c::X;", &["a::c"]);
    check("use super::{c, X as Y};", &["a", "a::c"]);
    check("fn f() -> crate::d::T {}", &["d"]);
    check("// use crate::d::T;\n/// [`crate::d`]", &[]);
    check("#[cfg(test)]\nmod tests {\n    use crate::d::T;\n}\n", &[]);
}

/// Returns every import of one module by another one of the crate.
fn imports(source: &Path) -> BTreeSet<(Module, Module)> {
    let files: BTreeMap<Module, String> = sources()
        .into_iter()
        .filter_map(|path| {
            let of = path.strip_prefix(source).ok()?.with_extension("");
            let mut module: Module =
                of.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
            if matches!(module.as_slice(), [name] if name == "lib" || name == "main") {
                module.clear();
            }
            Some((module, fs::read_to_string(path).expect("a source is text")))
        })
        .filter(|(module, _)| !module.iter().any(|name| name == "tests"))
        .collect();
    assert!(files.len() > 5, "{} has {} files", source.display(), files.len());
    let modules = files.keys().cloned().collect();
    let is_above = |module: &Module| BENCHMARKS.contains(&module.join("::").as_str());
    let mut imports = BTreeSet::new();
    for (from, text) in files.iter().filter(|(module, _)| !module.iter().any(|name| name == "benchmarks")) {
        if !is_above(from) {
            imports
                .extend(targets(text, from, &modules).filter(|to| to != from).map(|to| (from.clone(), to)));
        }
    }
    imports
}

/// Returns the modules that a source imports from.
fn targets<'a>(
    text: &'a str,
    from: &'a Module,
    modules: &'a BTreeSet<Module>,
) -> impl Iterator<Item = Module> + 'a {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: String = code.lines().map(|line| line.split("//").next().unwrap_or_default()).fold(
        String::new(),
        |mut code, line| {
            code.push_str(line);
            code.push(' ');
            code
        },
    );
    paths(&code).into_iter().filter_map(move |path| resolve(&path, from, modules))
}

/// Returns all paths that begin with `crate`, `self` or `super`, with `{…}` expanded.
fn paths(code: &str) -> Vec<Module> {
    let mut paths = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            let is_word =
                code[..at].ends_with(|before: char| before.is_alphanumeric() || "_:".contains(before));
            if !is_word {
                expand(&code[at..], &mut Vec::new(), &mut paths);
            }
        }
    }
    paths
}

/// Expands one path or tree at the beginning of `code`, and returns the rest.
fn expand<'a>(code: &'a str, before: &mut Module, paths: &mut Vec<Module>) -> &'a str {
    let depth = before.len();
    let mut code = code.trim_start();
    loop {
        if let Some(mut rest) = code.strip_prefix('{') {
            loop {
                rest = rest.trim_start().trim_start_matches(',').trim_start();
                if let Some(after) = rest.strip_prefix('}') {
                    code = after;
                    break;
                }
                let after = expand(rest, before, paths);
                if after.len() == rest.len() {
                    code = after;
                    break;
                }
                rest = after;
            }
            break;
        }
        let end = code.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(code.len());
        before.push(code[..end].to_owned());
        code = &code[end..];
        if let Some(rest) = code.strip_prefix("::") {
            code = rest.trim_start();
        } else {
            paths.push(before.clone());
            let renamed = code.trim_start().strip_prefix("as ");
            code = renamed.map_or(code, |rest| {
                let rest = rest.trim_start();
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                &rest[end..]
            });
            break;
        }
    }
    before.truncate(depth);
    code
}

/// Returns the module at the beginning of a path.
fn resolve(path: &Module, from: &Module, modules: &BTreeSet<Module>) -> Option<Module> {
    let mut at: Module = if path[0] == "crate" { Vec::new() } else { from.clone() };
    for name in path {
        match name.as_str() {
            "crate" => {}
            "self" => {}
            "super" => drop(at.pop()),
            name => at.push(name.to_owned()),
        }
    }
    (0..=at.len()).rev().map(|length| at[..length].to_vec()).find(|module| modules.contains(module))
}

/// Returns modules of one parent that import each other, directly or through others.
fn circles(imports: &BTreeSet<(Module, Module)>) -> Vec<String> {
    let mut siblings = BTreeMap::<&[String], BTreeSet<(&str, &str)>>::new();
    for (from, to) in imports {
        let shared = from.iter().zip(to).take_while(|(from, to)| from == to).count();
        if let (Some(a), Some(b)) = (from.get(shared), to.get(shared)) {
            siblings.entry(&from[..shared]).or_default().insert((a, b));
        }
    }
    siblings
        .into_iter()
        .filter_map(|(parent, arrows)| {
            let circle: Vec<_> =
                arrows.iter().map(|(from, _)| *from).filter(|name| reaches(name, name, &arrows)).collect();
            (!circle.is_empty()).then(|| format!("{}: {circle:?}", parent.join("::")))
        })
        .collect()
}

fn reaches(from: &str, to: &str, arrows: &BTreeSet<(&str, &str)>) -> bool {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(at) = open.pop() {
        for (_, next) in arrows.iter().filter(|(from, _)| *from == at) {
            if *next == to {
                return true;
            }
            if seen.insert(*next) {
                open.push(next);
            }
        }
    }
    false
}

fn module(name: &str) -> Module {
    name.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()
}
