//! The README shows the examples word for word, and the commands that are run.

use std::path::Path;

use harness::workspace::root;

/// Stands before the fence of the block whose commands pass the tests; `.ci/run` looks for it.
const TEST_MARKER: &str = "<!-- test -->";

#[test]
fn each_program_in_the_readme_is_an_example_word_for_word() {
    let examples = examples();
    let readme = read("README.md");
    let programs = blocks(&readme, "rust");
    assert!(!programs.is_empty(), "the README shows no program");
    for program in programs {
        let same = examples
            .iter()
            .any(|(_, text)| text.trim() == program.trim());
        assert!(same, "no example is, word for word:\n{program}");
    }
}

#[test]
fn ci_takes_the_test_command_out_of_the_readme() {
    let readme = read("README.md");
    let (_, after) = readme
        .split_once(TEST_MARKER)
        .expect("the README marks its test command");
    let shown = blocks(after, "sh");
    let command = shown.first().expect("a block of shell follows the marker");
    assert_eq!(command.trim(), "cargo test --workspace --all-features");
    assert!(read(".ci/run").contains(TEST_MARKER));
}

#[test]
fn the_readme_installs_what_ci_installs() {
    let readme = read("README.md");
    let line = readme
        .lines()
        .find_map(|line| line.strip_prefix("sudo apt-get install "));
    let shown: Vec<_> = line.expect("the README installs").split(' ').collect();
    let run = read(".ci/run");
    let list = run.split_once("packages=(").expect("a list of packages").1;
    let list = list.split_once(')').expect("it ends").0;
    assert_eq!(shown, list.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn each_cargo_command_in_the_readme_names_what_there_is() {
    let metadata = harness::workspace::metadata();
    let packages = metadata["packages"].as_array().expect("a list");
    let target = |kind: &str, name: &str| {
        let targets = packages
            .iter()
            .filter_map(|package| package["targets"].as_array());
        targets
            .flatten()
            .any(|target| target["name"] == name && target["kind"][0] == kind)
    };
    let readme = read("README.md");
    for line in blocks(&readme, "sh").iter().flat_map(|block| block.lines()) {
        let words: Vec<_> = line.split_whitespace().collect();
        // A package that is no member of the workspace is known by its own manifest only.
        let elsewhere = words.windows(2).find(|pair| pair[0] == "--manifest-path");
        let manifest = elsewhere.map(|pair| read(pair[1]));
        let target = |kind: &str, name: &str| match &manifest {
            Some(text) => text.contains(&format!("[[{kind}]]\nname = \"{name}\"")),
            None => target(kind, name),
        };
        for pair in words.windows(2).filter(|_| words[0] == "cargo") {
            let exists = match pair[0] {
                "--bin" => target("bin", pair[1]),
                "--example" => target("example", pair[1]),
                "--bench" => target("bench", pair[1]),
                "-p" | "--package" => packages.iter().any(|package| package["name"] == pair[1]),
                _ => continue,
            };
            assert!(exists, "{line}: there is no {}", pair[1]);
        }
    }
}

#[test]
fn blocks_are_found_by_their_language() {
    let text = "a\n```rust\nfn main() {}\n```\nb\n```sh\nls\npwd\n```\n```rust\nx\n```\n";
    assert_eq!(blocks(text, "rust"), ["fn main() {}\n", "x\n"]);
    assert_eq!(blocks(text, "sh"), ["ls\npwd\n"]);
    assert!(blocks(text, "toml").is_empty());
    assert!(blocks("```rust\nnever closed", "rust").is_empty());
}

/// What stands between fences of that language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}");
    let mut found = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in text.lines() {
        open = match open {
            None if line.starts_with("```") => Some((line == fence, String::new())),
            None => None,
            Some((wanted, block)) if line == "```" => {
                found.extend(wanted.then_some(block));
                None
            }
            Some((wanted, block)) => Some((wanted, block + line + "\n")),
        };
    }
    found
}

fn examples() -> Vec<(String, String)> {
    let folder = std::fs::read_dir(root().join("examples")).expect("there are examples");
    let files = folder.map(|entry| entry.expect("a folder can be read").path());
    files
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .map(|path| (path.display().to_string(), read(path)))
        .collect()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
