//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use lb_keyserver::audit::Head;
use tracing::level_filters::LevelFilter;

/// What the command line asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Command {
    /// Check this file and serve nothing.
    Check(PathBuf),
    /// Say how it is used.
    Help,
    /// Be a key server, or help whoever runs one.
    KeyServer(KeyServer),
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

/// What `clb keyserver` is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum KeyServer {
    /// Check this file and serve nothing.
    Check(PathBuf),
    /// Say how it is used.
    Help,
    /// Serve as this file says.
    Serve {
        /// What is served.
        file: PathBuf,
        /// How much is logged.
        log: LevelFilter,
    },
    /// Say the name of the key in this file.
    Ski(PathBuf),
    /// Follow the chain of an audit log.
    VerifyAudit {
        /// The log.
        file: PathBuf,
        /// What is known of it from elsewhere.
        known: Known,
    },
}

/// What is known of an audit log from elsewhere.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Known {
    /// The file of the key that seals it.
    pub(crate) key: Option<PathBuf>,
    /// A place that it has passed.
    pub(crate) head: Option<Head>,
    /// Where the file before this one ended.
    pub(crate) after: Option<Head>,
}

impl Known {
    /// The first flag that says something.
    const fn said(&self) -> Option<&'static str> {
        match self {
            Self { key: Some(_), .. } => Some("--checkpoint-key"),
            Self { head: Some(_), .. } => Some("--head"),
            Self { after: Some(_), .. } => Some("--after"),
            _ => None,
        }
    }
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
        let mut given = Given::default();
        while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
            match argument {
                lexopt::Arg::Short('h') | lexopt::Arg::Long("help") => return Ok(Self::Help),
                lexopt::Arg::Short('V') | lexopt::Arg::Long("version") => return Ok(Self::Version),
                lexopt::Arg::Value(word) if word == "keyserver" && given == Given::default() => {
                    return KeyServer::parse(parser).map(Self::KeyServer);
                }
                lexopt::Arg::Long("check") => given.check = true,
                lexopt::Arg::Short('c') | lexopt::Arg::Long("config") => {
                    given.take_file(&mut parser)?;
                }
                lexopt::Arg::Long("log") => given.take_log(&mut parser)?,
                other => return Err(other.unexpected().to_string()),
            }
        }
        match (given.check, given.file) {
            (true, Some(file)) => Ok(Self::Check(file)),
            (true, None) => Err("--check needs --config FILE".into()),
            (false, file) => Ok(Self::Serve {
                file,
                log: given.log.unwrap_or(LevelFilter::INFO),
            }),
        }
    }
}

impl KeyServer {
    /// Reads the arguments behind `keyserver`.
    fn parse(mut parser: lexopt::Parser) -> Result<Self, String> {
        let (mut given, mut alone) = (Given::default(), None);
        let mut known = Known::default();
        while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
            let of_file: fn(PathBuf) -> Self = match argument {
                lexopt::Arg::Short('h') | lexopt::Arg::Long("help") => return Ok(Self::Help),
                lexopt::Arg::Long("ski") => Self::Ski,
                lexopt::Arg::Long("verify-audit") => |file| Self::VerifyAudit {
                    file,
                    known: Known::default(),
                },
                lexopt::Arg::Long("checkpoint-key") => {
                    known.key = Some(parser.value().map_err(|error| error.to_string())?.into());
                    continue;
                }
                lexopt::Arg::Long("head") => {
                    known.head = Some(head("--head", &mut parser)?);
                    continue;
                }
                lexopt::Arg::Long("after") => {
                    known.after = Some(head("--after", &mut parser)?);
                    continue;
                }
                lexopt::Arg::Long("check") => {
                    given.check = true;
                    continue;
                }
                lexopt::Arg::Short('c') | lexopt::Arg::Long("config") => {
                    given.take_file(&mut parser)?;
                    continue;
                }
                lexopt::Arg::Long("log") => {
                    given.take_log(&mut parser)?;
                    continue;
                }
                other => return Err(other.unexpected().to_string()),
            };
            let file = parser.value().map_err(|error| error.to_string())?;
            if alone.replace(of_file(file.into())).is_some() {
                return Err("one thing at a time: --ski FILE or --verify-audit FILE".into());
            }
        }
        let is_log = matches!(alone, Some(Self::VerifyAudit { .. }));
        if let Some(flag) = known.said().filter(|_| !is_log) {
            return Err(format!("{flag} is for --verify-audit"));
        }
        match (alone, given.file) {
            (Some(_), _) if given.check || given.log.is_some() => {
                Err("--ski and --verify-audit go with no other flag".into())
            }
            (Some(_), Some(_)) => Err("--ski and --verify-audit need no --config".into()),
            (Some(Self::VerifyAudit { file, .. }), None) => Ok(Self::VerifyAudit { file, known }),
            (Some(alone), None) => Ok(alone),
            (None, Some(file)) if given.check => Ok(Self::Check(file)),
            (None, Some(file)) => Ok(Self::Serve {
                file,
                log: given.log.unwrap_or(LevelFilter::INFO),
            }),
            (None, None) => Err("keyserver needs --config FILE".into()),
        }
    }
}

/// The flags of both.
#[derive(Debug, Default, Eq, PartialEq)]
struct Given {
    file: Option<PathBuf>,
    log: Option<LevelFilter>,
    check: bool,
}

impl Given {
    fn take_file(&mut self, parser: &mut lexopt::Parser) -> Result<(), String> {
        let path = parser.value().map_err(|error| error.to_string())?;
        match self.file.replace(path.into()) {
            None => Ok(()),
            Some(_) => Err("--config is given twice, expected one file".into()),
        }
    }

    fn take_log(&mut self, parser: &mut lexopt::Parser) -> Result<(), String> {
        let word = parser.value().map_err(|error| error.to_string())?;
        self.log = Some(level(&word.to_string_lossy())?);
        Ok(())
    }
}

fn head(flag: &str, parser: &mut lexopt::Parser) -> Result<Head, String> {
    let text = parser.value().map_err(|error| error.to_string())?;
    let head = text.to_string_lossy().parse();
    head.map_err(|error| format!("{flag} {text:?}: {error}"))
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
clb balances TCP, UDP, TLS, HTTP, HTTPS and packets over backends, as one TOML file says.

Usage: clb [--config FILE] [--check] [--log LEVEL]
       clb keyserver --config FILE [--check] [--log LEVEL]

  -c, --config FILE  what to balance; without it, a demonstration on loopback
      --check        check the file, tell every mistake, and serve nothing
      --log LEVEL    off, error, warn, info (the default), debug or trace, on stderr
  -h, --help         this text
  -V, --version      the version

  keyserver          holds private keys for others; see clb keyserver --help

Signals: HUP reads the file again; TERM and INT drain and exit, a second one at once.
Exit codes: 0 done, 1 cannot serve, 2 a mistake in the file or on the command line.
";

/// What `keyserver --help` says.
pub(crate) const KEY_SERVER_HELP: &str = "\
clb keyserver holds private keys, and signs TLS handshakes for nodes that have none.

Usage: clb keyserver --config FILE [--check] [--log LEVEL]
       clb keyserver --ski FILE
       clb keyserver --verify-audit FILE [--checkpoint-key FILE] [--head SEQ:HASH] [--after SEQ:HASH]

  -c, --config FILE      which keys, and who may use them
      --check            check the file, tell every mistake, and serve nothing
      --log LEVEL        off, error, warn, info (the default), debug or trace, on stderr
      --ski FILE         print the name of the key that a certificate or a key file shows
      --verify-audit FILE
                         follow the chain of an audit log from its beginning to its end
      --checkpoint-key FILE
                         and the seals in it, by the key that the server was told
      --head SEQ:HASH    and whether the log has come as far: audit.head of /status, kept elsewhere;
                         that its end was cut off is found out by this alone
      --after SEQ:HASH   and whether it goes on where the file before it ended
  -h, --help             this text

Signals: HUP reads the file, the keys and the certificates again; TERM and INT answer what is under
way and exit, a second one at once.
Exit codes: 0 done, 1 cannot serve, or the log was changed, 2 a mistake in the file or on the
command line.
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
    fn a_key_server_needs_a_file_and_its_helpers_one_of_their_own() {
        let info = LevelFilter::INFO;
        let zeros = format!("0:{}", "00".repeat(32));
        let serve = |log| KeyServer::Serve {
            file: "a".into(),
            log,
        };
        for (line, expected) in [
            ("keyserver -c a", serve(info)),
            ("keyserver --log warn -c a", serve(LevelFilter::WARN)),
            ("keyserver -c a --check", KeyServer::Check("a".into())),
            ("keyserver --ski a.pem", KeyServer::Ski("a.pem".into())),
            (
                "keyserver --verify-audit a.log",
                KeyServer::VerifyAudit {
                    file: "a.log".into(),
                    known: Known::default(),
                },
            ),
            (
                "keyserver --checkpoint-key k --verify-audit a.log",
                KeyServer::VerifyAudit {
                    file: "a.log".into(),
                    known: Known {
                        key: Some("k".into()),
                        ..Known::default()
                    },
                },
            ),
            (
                &format!("keyserver --verify-audit a.log --head {zeros} --after={zeros}"),
                KeyServer::VerifyAudit {
                    file: "a.log".into(),
                    known: Known {
                        key: None,
                        head: Some(Head::default()),
                        after: Some(Head::default()),
                    },
                },
            ),
            ("keyserver --help", KeyServer::Help),
            ("keyserver -c a -h", KeyServer::Help),
        ] {
            assert_eq!(parse(line), Ok(Command::KeyServer(expected)), "{line}");
        }
        let alone = "--ski and --verify-audit go with no other flag";
        for (line, expected) in [
            ("keyserver", "keyserver needs --config FILE"),
            ("keyserver --check", "keyserver needs --config FILE"),
            (
                "keyserver -c a -c b",
                "--config is given twice, expected one file",
            ),
            ("keyserver --ski", "missing argument for option '--ski'"),
            ("keyserver --ski a --check", alone),
            ("keyserver --verify-audit a --log info", alone),
            (
                "keyserver -c a --ski b",
                "--ski and --verify-audit need no --config",
            ),
            (
                "keyserver --ski a --verify-audit b",
                "one thing at a time: --ski FILE or --verify-audit FILE",
            ),
            (
                "keyserver -c a --checkpoint-key k",
                "--checkpoint-key is for --verify-audit",
            ),
            (
                &format!("keyserver --ski a --head {zeros}"),
                "--head is for --verify-audit",
            ),
            (
                &format!("keyserver -c a --after {zeros}"),
                "--after is for --verify-audit",
            ),
            (
                "keyserver --verify-audit a --head 7",
                "--head \"7\": a head is a number of lines, a colon, and 64 hexadecimal digits in lower case",
            ),
            ("keyserver --version", "invalid option '--version'"),
            ("keyserver a", "unexpected argument \"a\""),
            ("-c a keyserver", "unexpected argument \"keyserver\""),
        ] {
            assert_eq!(parse(line), Err(expected.into()), "{line}");
        }
    }

    #[test]
    fn the_help_names_every_flag() {
        for flag in [
            "--config",
            "--check",
            "--log",
            "--help",
            "--version",
            "clb keyserver",
        ] {
            assert!(HELP.contains(flag), "{flag}");
        }
        for flag in [
            "--config",
            "--check",
            "--log",
            "--ski",
            "--verify-audit",
            "--checkpoint-key",
            "--head",
            "--after",
            "--help",
        ] {
            assert!(KEY_SERVER_HELP.contains(flag), "{flag}");
        }
    }
}
