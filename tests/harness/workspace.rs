//! The crates of this workspace, their files and their programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The directory of the workspace's manifest.
#[must_use]
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("this package lies in the workspace")
}

/// A program of this workspace, built as `profile` if it is not yet.
///
/// Features are unified as in `cargo test --workspace --all-features`, so that after it nothing
/// is built twice.
///
/// # Errors
///
/// What cargo said, when no package has such a program or it does not build.
pub fn program(name: &str, profile: Profile) -> Result<PathBuf, String> {
    let profile = match profile {
        Profile::Debug => "dev",
        Profile::Release => "release",
    };
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["build", "--workspace", "--all-features", "--bin", name])
        .args(["--profile", profile, "--message-format", "json"])
        .output()
        .expect("cargo runs");
    let messages = String::from_utf8_lossy(&output.stdout);
    let found = messages
        .lines()
        .filter_map(|line| executable(&serde_json::from_str(line).ok()?, name))
        .next_back();
    found.ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// How a program is built.
#[expect(clippy::exhaustive_enums, reason = "cargo's two")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Profile {
    /// As tests are: with checks of overflow and of assertions.
    Debug,
    /// As shipped.
    Release,
}

fn executable(message: &Value, name: &str) -> Option<PathBuf> {
    let is_it = message["target"]["name"] == name && message["target"]["kind"][0] == "bin";
    let path = message["executable"].as_str().filter(|_| is_it)?;
    Some(PathBuf::from(path))
}

/// What `cargo metadata` says of all packages, with all features, for this platform.
#[must_use]
pub fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args([
            "metadata",
            "--format-version",
            "1",
            "--all-features",
            "--locked",
        ])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .output()
        .expect("cargo runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

/// Every Rust file that is ours, fuzz targets and peers included.
#[must_use]
pub fn rust_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("our folders can be read") {
            let path = entry.expect("our folders can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let ours = name != "target" && !name.starts_with('.');
            if path.is_dir() && ours {
                folders.push(path);
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_root_holds_the_manifest_and_this_file_is_ours() {
        assert!(root().join("Cargo.lock").exists());
        assert!(rust_files().contains(&root().join("tests/harness/workspace.rs")));
        assert!(
            !rust_files()
                .iter()
                .any(|file| file.starts_with(root().join("target")))
        );
    }

    #[test]
    fn only_the_program_of_that_name_is_taken() {
        let message = |name: &str, kind: &str| json!({ "target": { "name": name, "kind": [kind] }, "executable": "/x" });
        assert_eq!(executable(&message("clb", "bin"), "clb"), Some("/x".into()));
        assert_eq!(executable(&message("clb", "test"), "clb"), None);
        assert_eq!(executable(&message("other", "bin"), "clb"), None);
        assert_eq!(executable(&json!({}), "clb"), None);
    }
}
