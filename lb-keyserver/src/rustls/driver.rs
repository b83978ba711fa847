//! One handshake whose signature comes from elsewhere.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use rustls::server::{Accepted, Acceptor, ClientHello};
use rustls::{
    AlertDescription, Error, HandshakeKind, InvalidMessage, OtherError, ServerConfig,
    ServerConnection,
};

use super::output::{pass_over, plain, unsent, written};
use super::step::{Fatal, PendingSign, Question, Step};
use super::tape::{self, Diverged, Tape};
use super::transcript::Transcripts;
use crate::sign::{SignRequest, Signature};

/// One handshake of a server whose key is elsewhere: bytes in, [`Step`]s out, no I/O.
///
/// A caller reads what the client sends and gives it to [`input`](Self::input), in pieces of any
/// size, and does what the step says, until [`Step::Ready`]: from there on rustls needs no key, and
/// the [connection](Self::into_connection) goes its usual way. Keeps what the client sent until
/// then, 64 KiB at most, and little else: about 2 KiB while it waits for the signature.
///
/// After an error it is of no more use. It may be sent to another thread between calls.
///
/// # Examples
///
/// The loop of a caller who blocks:
///
/// ```
/// use std::io::{self, Read, Write};
/// use std::sync::Arc;
///
/// use lb_keyserver::rustls::{Handshake, Step};
/// use lb_keyserver::{SignRequest, Signature};
/// use rustls::{ServerConfig, ServerConnection};
///
/// fn accept(
///     mut client: impl Read + Write,
///     config: Arc<ServerConfig>,
///     sign: impl Fn(&SignRequest) -> Signature,
/// ) -> io::Result<Option<ServerConnection>> {
///     let mut handshake = Handshake::new(config);
///     let mut buffer = [0; 4096];
///     loop {
///         let read = client.read(&mut buffer)?;
///         let mut step = handshake.input(&buffer[..read]);
///         loop {
///             step = match step {
///                 Ok(Step::NeedInput(output)) => break client.write_all(&output)?,
///                 Ok(Step::NeedSignature(pending)) => {
///                     let signature = sign(pending.request());
///                     handshake.signature(pending, signature)
///                 }
///                 Ok(_) => return Ok(handshake.into_connection()),
///                 Err(fatal) => {
///                     client.write_all(&fatal.alert)?;
///                     return Err(io::Error::other(fatal));
///                 }
///             }
///         }
///     }
/// }
/// ```
pub struct Handshake {
    config: Option<Arc<ServerConfig>>,
    stage: Stage,
    /// `None` once the handshake is ready.
    tape: Option<Box<Tape>>,
    server_name: Option<Arc<str>>,
    /// What the client has sent, from its first byte on.
    received: Vec<u8>,
    /// How much of it the connection of this pass has been given.
    fed: usize,
    /// What went out before the signature was asked for: a HelloRetryRequest, if anything.
    sent: Vec<u8>,
    /// Whether this pass has put the same out.
    caught_up: bool,
    replays: u8,
}

enum Stage {
    /// The ClientHello is not there yet.
    Hello(Acceptor),
    /// It is, and the configuration is not.
    Choosing(Accepted),
    Running(ServerConnection),
    /// For a signature; the connection of the last pass is gone.
    Waiting,
    Over,
}

impl Handshake {
    /// A handshake under `config`, which must compute with a
    /// [`remote_provider`](super::remote_provider) if a [`RemoteKey`](super::RemoteKey) is in it.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self {
            config: Some(config),
            ..Self::choosing()
        }
    }

    /// A handshake whose configuration is chosen by what the client says first.
    #[must_use]
    pub fn choosing() -> Self {
        Self {
            config: None,
            stage: Stage::Hello(Acceptor::default()),
            tape: Some(Box::default()),
            server_name: None,
            received: Vec::new(),
            fed: 0,
            sent: Vec::new(),
            caught_up: true,
            replays: 0,
        }
    }

    /// Whether requests for signatures carry the handshake. The default is not to.
    #[must_use]
    pub fn transcripts(mut self, transcripts: Transcripts) -> Self {
        if let Some(tape) = &mut self.tape {
            tape.record_transcripts(transcripts);
        }
        self
    }

    /// The client has sent `bytes`.
    ///
    /// # Errors
    ///
    /// When the client has broken the protocol, sends more than 64 KiB, or there is nothing that both
    /// speak.
    pub fn input(&mut self, bytes: &[u8]) -> Result<Step, Fatal> {
        if self.received.len() + bytes.len() > MAX_RECEIVED {
            let error = InvalidMessage::HandshakePayloadTooLarge;
            return Err(self.fatal(
                Error::InvalidMessage(error),
                plain(AlertDescription::DecodeError).to_vec(),
            ));
        }
        self.received.extend_from_slice(bytes);
        match self.stage {
            Stage::Hello(_) => self.greet(),
            Stage::Running(_) => self.run(),
            // Its turn comes when the answer is there.
            Stage::Choosing(_) | Stage::Waiting => Ok(Step::NeedInput(Vec::new())),
            Stage::Over => Err(self.misused()),
        }
    }

    /// What the client said, after [`Step::NeedConfig`].
    #[must_use]
    pub fn client_hello(&self) -> Option<ClientHello<'_>> {
        match &self.stage {
            Stage::Choosing(accepted) => Some(accepted.client_hello()),
            _ => None,
        }
    }

    /// The name that the client asked for, once its ClientHello is there.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// What to speak, after [`Step::NeedConfig`].
    ///
    /// # Errors
    ///
    /// As [`input`](Self::input); also when it is not the time for it.
    pub fn configure(&mut self, config: Arc<ServerConfig>) -> Result<Step, Fatal> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Choosing(accepted) => self.begin(accepted, config),
            _ => Err(self.misused()),
        }
    }

    /// The signature that was asked for. What it is worth only the client finds out.
    ///
    /// # Errors
    ///
    /// As [`input`](Self::input); also when yet another signature would be needed, as by a
    /// certificate that changes with every look, or without a
    /// [`remote_provider`](super::remote_provider).
    pub fn signature(&mut self, pending: PendingSign, signature: Signature) -> Result<Step, Fatal> {
        let (Stage::Waiting, Some(tape), Some(config)) =
            (&self.stage, &mut self.tape, &self.config)
        else {
            return Err(self.misused());
        };
        tape.answer(pending.question, signature);
        tape.rewind();
        let connection = match ServerConnection::new(Arc::clone(config)) {
            Ok(connection) => connection,
            Err(error) => return Err(self.faulty(error)),
        };
        self.stage = Stage::Running(connection);
        self.fed = 0;
        self.caught_up = self.sent.is_empty();
        self.replays += 1;
        self.run()
    }

    /// Gives up, for want of a signature or a configuration: what to send to the client.
    ///
    /// It is not encrypted, as no client has seen a ServerHello before the signature is there.
    #[must_use]
    pub fn refuse(self, alert: AlertDescription) -> [u8; 7] {
        plain(alert)
    }

    /// The connection, after [`Step::Ready`]; `None` before.
    ///
    /// It has yet to write its flight, and to read how the client ends the handshake.
    #[must_use]
    pub fn into_connection(self) -> Option<ServerConnection> {
        match self.stage {
            Stage::Running(connection) if self.tape.is_none() => Some(connection),
            _ => None,
        }
    }

    /// What is spoken, as soon as that is known.
    #[must_use]
    pub const fn config(&self) -> Option<&Arc<ServerConfig>> {
        self.config.as_ref()
    }

    /// How often the client's bytes were gone through again; as often as a signature came.
    #[must_use]
    pub const fn replays(&self) -> u8 {
        self.replays
    }

    /// Looks for a ClientHello in what has come.
    fn greet(&mut self) -> Result<Step, Fatal> {
        let Stage::Hello(acceptor) = &mut self.stage else {
            return Err(self.misused());
        };
        let (error, alert) = loop {
            let read = read(&self.received, &mut self.fed, |rest| {
                acceptor.read_tls(rest)
            });
            match read {
                Ok(true) => {}
                Ok(false) => return Ok(Step::NeedInput(Vec::new())),
                Err(error) => break (error, plain(AlertDescription::DecodeError).to_vec()),
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => return self.meet(accepted),
                Err((error, alert)) => {
                    let alert = written(&error, alert);
                    break (error, alert);
                }
            }
        };
        Err(self.fatal(error, alert))
    }

    fn meet(&mut self, accepted: Accepted) -> Result<Step, Fatal> {
        self.server_name = accepted.client_hello().server_name().map(Arc::from);
        if let Some(config) = self.config.clone() {
            return self.begin(accepted, config);
        }
        self.stage = Stage::Choosing(accepted);
        Ok(Step::NeedConfig)
    }

    /// Begins the first pass.
    fn begin(&mut self, accepted: Accepted, config: Arc<ServerConfig>) -> Result<Step, Fatal> {
        self.config = Some(Arc::clone(&config));
        let begun = tape::installed(&mut self.tape, || accepted.into_connection(config));
        match begun {
            Ok(connection) => {
                self.stage = Stage::Running(connection);
                self.run()
            }
            Err((error, alert)) => match self.tape.as_mut().and_then(|tape| tape.take_pending()) {
                Some(question) => self.ask(question),
                None => {
                    let alert = written(&error, alert);
                    Err(self.fatal(error, alert))
                }
            },
        }
    }

    /// Gives the connection what it has not seen.
    fn run(&mut self) -> Result<Step, Fatal> {
        let Stage::Running(connection) = &mut self.stage else {
            return Err(self.misused());
        };
        let ran = tape::installed(&mut self.tape, || {
            loop {
                connection.process_new_packets()?;
                let more = |rest: &mut dyn Read| connection.read_tls(rest);
                if !read(&self.received, &mut self.fed, more)? {
                    return Ok(());
                }
            }
        });
        match ran {
            Ok(()) => self.go_on(),
            Err(error) => self.break_off(error),
        }
    }

    /// Every byte was taken, and nothing was wrong with it.
    fn go_on(&mut self) -> Result<Step, Fatal> {
        let Stage::Running(connection) = &mut self.stage else {
            return Err(self.misused());
        };
        if !self.caught_up {
            if pass_over(connection, &self.sent).is_err() {
                return Err(self.faulty(other(Diverged)));
            }
            self.caught_up = true;
        }
        // A key exchange and the signature are of one and the same call.
        let has_signed = self.tape.as_ref().is_some_and(|tape| tape.has_exchanged());
        let is_resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        if has_signed || is_resumed || !connection.is_handshaking() {
            self.tape = None;
            self.received = Vec::new();
            self.sent = Vec::new();
            return Ok(Step::Ready);
        }
        let output = unsent(connection);
        self.sent.extend_from_slice(&output);
        Ok(Step::NeedInput(output))
    }

    /// rustls broke off: for a signature, or for good.
    fn break_off(&mut self, error: Error) -> Result<Step, Fatal> {
        let question = self.tape.as_mut().and_then(|tape| tape.take_pending());
        if let Some(question) = question {
            return self.ask(question);
        }
        let alert = match &mut self.stage {
            Stage::Running(connection) => {
                let behind = if self.caught_up { &[][..] } else { &self.sent };
                match pass_over(connection, behind) {
                    Ok(()) => unsent(connection),
                    Err(_) => plain(AlertDescription::InternalError).to_vec(),
                }
            }
            _ => Vec::new(),
        };
        Err(self.fatal(error, alert))
    }

    fn ask(&mut self, question: Question) -> Result<Step, Fatal> {
        if self.replays >= MAX_REPLAYS {
            return Err(self.faulty(other(Diverged)));
        }
        // What this pass has made must never be sent.
        self.stage = Stage::Waiting;
        let Question {
            key,
            scheme,
            message,
        } = question.clone();
        let mut request = SignRequest::new(key, scheme, message);
        let tape = self.tape.as_ref();
        request.transcript = tape.and_then(|tape| tape.transcript(&request.message));
        request.server_name.clone_from(&self.server_name);
        Ok(Step::NeedSignature(PendingSign { question, request }))
    }

    fn misused(&mut self) -> Fatal {
        self.fatal(other(OutOfTurn), Vec::new())
    }

    fn faulty(&mut self, error: Error) -> Fatal {
        self.fatal(error, plain(AlertDescription::InternalError).to_vec())
    }

    fn fatal(&mut self, error: Error, alert: Vec<u8>) -> Fatal {
        self.stage = Stage::Over;
        self.tape = None;
        Fatal { error, alert }
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("server_name", &self.server_name)
            .field("received", &self.received.len())
            .field("replays", &self.replays)
            .finish_non_exhaustive()
    }
}

/// A method was called that the last step did not ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the handshake was driven out of turn")]
struct OutOfTurn;

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Other(OtherError(Arc::new(error)))
}

/// Gives `take` what has not been fed; `false` when there is nothing.
fn read(
    received: &[u8],
    fed: &mut usize,
    take: impl FnOnce(&mut dyn Read) -> io::Result<usize>,
) -> Result<bool, Error> {
    let mut rest = received.get(*fed..).unwrap_or_default();
    if rest.is_empty() {
        return Ok(false);
    }
    match take(&mut rest) {
        // rustls takes no more of a message that is as long as this.
        Ok(0) | Err(_) => Err(Error::InvalidMessage(InvalidMessage::MessageTooLarge)),
        Ok(taken) => {
            *fed += taken;
            Ok(true)
        }
    }
}

/// Three passes: a certificate may change once while its signature is on the way.
const MAX_REPLAYS: u8 = 2;

/// What rustls takes for one message of the handshake at most, so that more never helps.
const MAX_RECEIVED: usize = 64 * 1024;
