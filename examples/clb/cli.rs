//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use tracing::level_filters::LevelFilter;

/// What the command line asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Command {
    /// Check this file and serve nothing.
    Check(PathBuf),
    /// Say how it is used.
    Help,
    /// Serve.
    Serve {
        /// What to serve; none serves a demonstration on loopback.
        file: Option<PathBuf>,
        /// How much is logged.
        log: LevelFilter,
    },
    /// Say which version this is.
    Version,
}

impl Command {
    /// Reads the arguments behind the program's name.
    ///
    /// # Errors
    ///
    /// Says which argument is wrong, and what was expected.
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<Self, String> {
        let mut parser = lexopt::Parser::from_args(arguments);
        let (mut file, mut log, mut check) = (None, LevelFilter::INFO, false);
        while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
            match argument {
                lexopt::Arg::Long("check") => check = true,
                lexopt::Arg::Short('c') | lexopt::Arg::Long("config") => {
                    let path = parser.value().map_err(|error| error.to_string())?;
                    if file.replace(PathBuf::from(path)).is_some() {
                        return Err("--config is given twice, expected one file".into());
                    }
                }
                lexopt::Arg::Short('h') | lexopt::Arg::Long("help") => return Ok(Self::Help),
                lexopt::Arg::Long("log") => {
                    let word = parser.value().map_err(|error| error.to_string())?;
                    log = level(&word.to_string_lossy())?;
                }
                lexopt::Arg::Short('V') | lexopt::Arg::Long("version") => return Ok(Self::Version),
                other => return Err(other.unexpected().to_string()),
            }
        }
        match (check, file) {
            (true, Some(file)) => Ok(Self::Check(file)),
            (true, None) => Err("--check needs --config FILE".into()),
            (false, file) => Ok(Self::Serve { file, log }),
        }
    }
}

fn level(word: &str) -> Result<LevelFilter, String> {
    let known = LEVELS.iter().find(|(name, _)| *name == word);
    known.map(|(_, level)| *level).ok_or_else(|| {
        let names = LEVELS.map(|(name, _)| name).join(", ");
        format!("--log {word:?} is no level, expected one of {names}")
    })
}

const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// What `--help` says.
pub(crate) const HELP: &str = "\
clb balances TCP, UDP, TLS, HTTP and HTTPS over backends, as one TOML file says.

Usage: clb [--config FILE] [--check] [--log LEVEL]

  -c, --config FILE  what to balance; without it, a demonstration on loopback
      --check        check the file, tell every mistake, and serve nothing
      --log LEVEL    off, error, warn, info (the default), debug or trace, on stderr
  -h, --help         this text
  -V, --version      the version

Signals: HUP reads the file again; TERM and INT drain and exit, a second one at once.
Exit codes: 0 done, 1 cannot serve, 2 a mistake in the file or on the command line.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        Command::parse(line.split_whitespace())
    }

    fn serve(file: Option<&str>, log: LevelFilter) -> Command {
        let file = file.map(PathBuf::from);
        Command::Serve { file, log }
    }

    #[test]
    fn without_arguments_a_demonstration_is_served() {
        assert_eq!(parse(""), Ok(serve(None, LevelFilter::INFO)));
    }

    #[test]
    fn a_file_and_a_level_may_be_given_in_every_form() {
        for line in [
            "--config a.toml --log debug",
            "--log=debug -c a.toml",
            "-ca.toml --log debug",
        ] {
            assert_eq!(
                parse(line),
                Ok(serve(Some("a.toml"), LevelFilter::DEBUG)),
                "{line}"
            );
        }
        for (name, level) in LEVELS {
            assert_eq!(parse(&format!("--log {name}")), Ok(serve(None, level)));
        }
    }

    #[test]
    fn a_check_needs_a_file() {
        assert_eq!(parse("--check --config a"), Ok(Command::Check("a".into())));
        assert_eq!(parse("--config a --check"), Ok(Command::Check("a".into())));
        assert_eq!(parse("--check"), Err("--check needs --config FILE".into()));
    }

    #[test]
    fn help_and_version_come_before_all_else() {
        for line in ["--help", "-h", "--check -h"] {
            assert_eq!(parse(line), Ok(Command::Help), "{line}");
        }
        for line in ["--version", "-V"] {
            assert_eq!(parse(line), Ok(Command::Version), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (line, expected) in [
            (
                "--log loud",
                "--log \"loud\" is no level, expected one of off, error, warn, info, debug, trace",
            ),
            ("--config", "missing argument for option '--config'"),
            ("--port 80", "invalid option '--port'"),
            ("a.toml", "unexpected argument \"a.toml\""),
            ("-c a -c b", "--config is given twice, expected one file"),
        ] {
            assert_eq!(parse(line), Err(expected.into()), "{line}");
        }
    }

    #[test]
    fn the_help_names_every_flag() {
        for flag in ["--config", "--check", "--log", "--help", "--version"] {
            assert!(HELP.contains(flag), "{flag}");
        }
    }
}
