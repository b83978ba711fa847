//! Who may depend on whom: a core without I/O, and a star around it.

use std::collections::BTreeSet;
use std::path::Path;

use harness::workspace::{metadata, root, rust_files};
use serde_json::Value;

const CORE: &str = "lbcore";

const OUTER: [&str; 4] = ["lb-keyserver", "lb-l4", "lb-l7", "lb-sync"];

/// Runtimes, and whatever else opens a socket or calls the kernel.
const EDGE: [&str; 8] = [
    "async-std",
    "libc",
    "mio",
    "nix",
    "rustix",
    "smol",
    "socket2",
    "tokio",
];

#[test]
fn the_core_depends_on_nothing_that_does_io() {
    let graph = Graph::new(metadata());
    let below = graph.below(CORE);
    let edge: Vec<_> = EDGE.iter().filter(|name| below.contains(**name)).collect();
    assert!(edge.is_empty(), "{edge:?} among {below:?}");
    // The walk itself works: this one is there.
    assert!(below.contains("arc-swap"), "{below:?}");
}

#[test]
fn the_outer_crates_depend_on_the_core_and_never_on_each_other() {
    let graph = Graph::new(metadata());
    for name in OUTER {
        let below = graph.below(name);
        assert!(below.contains(CORE), "{name} does not stand on {CORE}");
        for other in OUTER.iter().filter(|other| **other != name) {
            assert!(!below.contains(*other), "{name} depends on {other}");
        }
    }
}

#[test]
fn nothing_depends_on_examples_and_tests() {
    let graph = Graph::new(metadata());
    for name in OUTER.iter().chain([&CORE, &"examples"]) {
        let below = graph.below(name);
        assert!(
            !below.contains("examples") && !below.contains("tests"),
            "{name}"
        );
    }
}

#[test]
fn unsafe_code_is_in_the_system_calls_of_lb_l4_and_nowhere_else() {
    for name in ["lbcore", "lb-keyserver", "lb-l7", "lb-sync"] {
        let text = read(&root().join(name).join("src/lib.rs"));
        assert!(
            text.contains("#![forbid(unsafe_code)]"),
            "{name} does not forbid it"
        );
    }
    let sys = root().join("lb-l4/src/sys");
    for file in rust_files().into_iter().filter(|file| !is_this(file)) {
        let line = read(&file).lines().position(lifts_the_ban);
        let place = || format!("{}:{}", file.display(), line.unwrap_or(0) + 1);
        assert!(line.is_none() || file.starts_with(&sys), "{}", place());
    }
}

#[test]
fn only_attributes_that_lift_the_ban_are_taken_for_such() {
    assert!(lifts_the_ban(
        "#![expect(unsafe_code, reason = \"system calls\")]"
    ));
    assert!(lifts_the_ban("    #[allow(unsafe_code)]"));
    assert!(lifts_the_ban("    unsafe_code,"));
    assert!(!lifts_the_ban("#![forbid(unsafe_code)]"));
    assert!(!lifts_the_ban("// see #[allow(unsafe_code)]"));
}

/// This file speaks of the ban to test for it.
fn is_this(file: &Path) -> bool {
    file.ends_with("tests/layers.rs")
}

/// The lint table denies `unsafe_code`, so only an attribute that names it can let any in.
fn lifts_the_ban(line: &str) -> bool {
    let comment = line.trim_start().starts_with("//");
    let keeps = line.contains("forbid(unsafe_code)") || line.contains("deny(unsafe_code)");
    line.contains("unsafe_code") && !comment && !keeps
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The packages, as `cargo metadata` resolved them with every feature.
struct Graph(Value);

impl Graph {
    fn new(metadata: Value) -> Self {
        Self(metadata)
    }

    /// Names of all packages that `name` needs to run, itself not among them.
    fn below(&self, name: &str) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut waiting = vec![self.id(name)];
        while let Some(id) = waiting.pop() {
            for dependency in self.node(id)["deps"].as_array().expect("a list") {
                let next = dependency["pkg"].as_str().expect("an id");
                if is_normal(dependency) && seen.insert(next) {
                    waiting.push(next);
                }
            }
        }
        seen.into_iter().map(|id| self.name(id)).collect()
    }

    fn packages(&self) -> &[Value] {
        self.0["packages"].as_array().expect("a list")
    }

    fn id(&self, name: &str) -> &str {
        let package = self
            .packages()
            .iter()
            .find(|package| package["name"] == name);
        let package = package.unwrap_or_else(|| panic!("no package {name}"));
        package["id"].as_str().expect("an id")
    }

    fn name(&self, id: &str) -> &str {
        let package = self.packages().iter().find(|package| package["id"] == id);
        package.expect("ids are of packages")["name"]
            .as_str()
            .expect("a name")
    }

    fn node(&self, id: &str) -> &Value {
        let nodes = self.0["resolve"]["nodes"].as_array().expect("a list");
        nodes
            .iter()
            .find(|node| node["id"] == id)
            .expect("ids are of nodes")
    }
}

/// Whether a dependency is there at run time: its kind is null, not `dev` or `build`.
fn is_normal(dependency: &Value) -> bool {
    let kinds = dependency["dep_kinds"].as_array().expect("a list");
    kinds.iter().any(|kind| kind["kind"].is_null())
}
