//! Files are pages, not chapters.

use std::path::Path;

use harness::workspace::{root, rust_files};

/// Lines without tests that no file passes.
const MOST: usize = 600;

/// Of all files, half are shorter than this.
const MEDIAN: usize = 160;

#[test]
#[expect(
    clippy::print_stdout,
    reason = "the sizes are worth seeing when they pass, too"
)]
fn no_file_is_longer_than_a_reader_can_hold() {
    let mut sizes: Vec<_> = rust_files()
        .into_iter()
        .filter(|file| !is_test(file))
        .map(|file| {
            let text = std::fs::read_to_string(&file).expect("our files can be read");
            (lines_without_tests(&text), file)
        })
        .collect();
    sizes.sort();
    let median = sizes[sizes.len() / 2].0;
    let (longest, file) = sizes.last().expect("there are files");
    let name = file.strip_prefix(root()).unwrap_or(file).display();
    println!(
        "{} files, median {median} lines, longest {longest}: {name}",
        sizes.len()
    );
    assert!(
        *longest <= MOST,
        "{name} has {longest} lines, more than {MOST}"
    );
    assert!(
        median <= MEDIAN,
        "half of the files have more than {MEDIAN} lines"
    );
}

#[test]
fn the_tests_at_the_bottom_are_not_counted() {
    assert_eq!(lines_without_tests("a\nb\n"), 2);
    assert_eq!(
        lines_without_tests("a\n\n#[cfg(test)]\nmod tests {\n}\n"),
        2
    );
    assert_eq!(lines_without_tests("a\n#[cfg(test)]\nuse b;\nc\n"), 4);
    assert_eq!(lines_without_tests("a\n#[cfg(test)]\nmod tests;\n"), 1);
    assert_eq!(lines_without_tests(""), 0);
}

#[test]
fn a_file_of_tests_is_known_by_where_it_lies() {
    assert!(is_test(&root().join("lbcore/tests/maglev.rs")));
    assert!(is_test(&root().join("lbcore/src/schedule/tests.rs")));
    assert!(is_test(&root().join("lbcore/benches/pick.rs")));
    assert!(is_test(&root().join("tests/failover.rs")));
    assert!(!is_test(&root().join("tests/harness/lib.rs")));
    assert!(!is_test(&root().join("lbcore/src/schedule/maglev.rs")));
}

fn is_test(file: &Path) -> bool {
    let names: Vec<_> = file.strip_prefix(root()).unwrap_or(file).iter().collect();
    let of_a_crate = names
        .iter()
        .skip(1)
        .any(|name| ["tests", "benches", "tests.rs"].contains(&&*name.to_string_lossy()));
    of_a_crate || names.len() == 2 && names[0] == "tests"
}

/// Lines before the module of tests, which is the last of a file.
fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<_> = text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests"));
    tests.unwrap_or(lines.len())
}
