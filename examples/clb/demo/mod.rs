//! Without a file: backends and a key server in this process, a listener of each kind, and what to
//! try.

mod keys;
#[cfg(test)]
pub(crate) use keys::Holder as KeyHolder;

use std::io::{self, Write};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::config::{self, Config};
use crate::engine::Engine;
use crate::run::Failure;
use keys::Holder;

/// Backends on loopback, and the file that would balance over them.
#[derive(Debug)]
pub(crate) struct Demo {
    text: String,
    admin: SocketAddr,
    keys: SocketAddr,
}

impl Demo {
    /// Starts three backends of TCP, three of UDP, and a key server.
    ///
    /// # Errors
    ///
    /// Those of `bind(2)` on loopback, and of a system without random bytes.
    pub(crate) async fn start() -> io::Result<Self> {
        let (mut streams, mut datagrams) = (Vec::new(), Vec::new());
        for name in NAMES {
            let listener = TcpListener::bind(LOOPBACK).await?;
            streams.push(backend(name, listener.local_addr()?));
            tokio::spawn(answer_all(name, listener));
            let socket = UdpSocket::bind(LOOPBACK).await?;
            datagrams.push(backend(name, socket.local_addr()?));
            tokio::spawn(echo_datagrams(socket));
        }
        let admin = free(ADMIN).await?;
        let tcp = free(TCP).await?;
        let udp = match UdpSocket::bind(UDP).await {
            Ok(bound) => bound.local_addr()?,
            Err(_) => UdpSocket::bind(LOOPBACK).await?.local_addr()?,
        };
        let holder = Holder::start(KEYS).await?;
        let at = Places {
            admin,
            tcp,
            udp,
            http: free(HTTP).await?,
            https: free(HTTPS).await?,
            keys: holder.address,
        };
        let (streams, datagrams) = (streams.join(", "), datagrams.join(", "));
        let text = file(at, &streams, &datagrams, &holder);
        let keys = holder.address;
        Ok(Self { text, admin, keys })
    }

    /// What is served, read as any file is.
    ///
    /// # Errors
    ///
    /// None, unless the text of the demonstration is wrong, which a test forbids.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        let parsed = config::parse(&self.text);
        let told = |mistakes| Failure::Mistakes(format!("{mistakes:?}"));
        parsed.map(|parsed| parsed.config).map_err(told)
    }

    /// Says what runs where, and what to try.
    ///
    /// # Errors
    ///
    /// When standard output is closed.
    pub(crate) fn welcome(&self, engine: &Engine) -> io::Result<()> {
        let at = |name| {
            engine
                .address(name)
                .map(ToString::to_string)
                .unwrap_or_default()
        };
        let text = welcome(&Places {
            admin: self.admin.to_string(),
            tcp: at("web"),
            udp: at("echo"),
            http: at("http"),
            https: at("https"),
            keys: self.keys.to_string(),
        });
        io::stdout().write_all(text.as_bytes())
    }
}

fn backend(name: &str, address: SocketAddr) -> String {
    format!("{{ name = \"{name}\", address = \"{address}\" }}")
}

/// `wanted`, or any port if someone has it.
async fn free(wanted: &str) -> io::Result<SocketAddr> {
    let bound = match TcpListener::bind(wanted).await {
        Ok(bound) => bound,
        Err(_) => TcpListener::bind(LOOPBACK).await?,
    };
    bound.local_addr()
}

/// Where everything of the demonstration is.
#[derive(Clone, Copy, Debug)]
struct Places<A> {
    admin: A,
    tcp: A,
    udp: A,
    http: A,
    https: A,
    keys: A,
}

fn file(at: Places<SocketAddr>, streams: &str, datagrams: &str, holder: &Holder) -> String {
    let Places {
        admin,
        tcp,
        udp,
        http,
        https,
        ..
    } = at;
    let site = &holder.site;
    format!(
        "drain_timeout = \"2s\"\n[admin]\nlisten = \"{admin}\"\n\
         [[pool]]\nname = \"web\"\nscheduler = \"round-robin\"\nbackends = [{streams}]\n\
         health = {{ kind = \"tcp\", interval = \"2s\" }}\n\
         [[pool]]\nname = \"echo\"\nscheduler = \"round-robin\"\nbackends = [{datagrams}]\n\
         health = {{ kind = \"udp-exchange\", send = \"ping\", expect = \"ping\" }}\n\
         [[listener]]\nname = \"web\"\nprotocol = \"tcp\"\nlisten = \"{tcp}\"\npool = \"web\"\n\
         [[listener]]\nname = \"echo\"\nprotocol = \"udp\"\nlisten = \"{udp}\"\npool = \"echo\"\n\
         idle_timeout = \"10s\"\n\
         [[listener]]\nname = \"http\"\nprotocol = \"http\"\nlisten = \"{http}\"\npool = \"web\"\n\
         rule = [{{ path = \"/clb\", respond = {{ status = 200, body = \"balanced\\n\" }} }}]\n\
         [[listener]]\nname = \"https\"\nprotocol = \"https\"\nlisten = \"{https}\"\npool = \"web\"\n\
         certificates = [{{ cert = '''\n{site}''', key = \"remote\" }}]\n{holder}"
    )
}

fn welcome(at: &Places<String>) -> String {
    let Places {
        admin,
        tcp,
        udp,
        http,
        https,
        keys,
    } = at;
    let (host, port) = tcp.rsplit_once(':').unwrap_or((tcp, ""));
    let (udp_host, udp_port) = udp.rsplit_once(':').unwrap_or((udp, ""));
    // Each comment stands in one column, whatever the ports.
    let tries = [
        (
            format!("curl http://{tcp}/"),
            "# a, b or c, each worker in turn",
        ),
        (format!("echo hello | nc -N {host} {port}"), "# hello"),
        (
            format!("echo hello | nc -u -w1 {udp_host} {udp_port}"),
            "# hello",
        ),
        (
            format!("curl http://{http}/ http://{http}/clb"),
            "# a, b or c, then clb itself",
        ),
        (
            format!("curl -k https://{https}/"),
            "# the same over TLS and HTTP/2",
        ),
        (format!("curl http://{admin}/status"), "# all of it as JSON"),
        (
            format!("curl -s http://{admin}/metrics | grep ^clb_key_server"),
            "# and what was asked of the key server",
        ),
    ];
    let width = tries.iter().map(|(command, _)| command.len()).max();
    let width = width.unwrap_or_default();
    let tries: String = tries
        .iter()
        .map(|(command, comment)| format!("  {command:width$}  {comment}\n"))
        .collect();
    let places = [tcp, udp, http, https, keys, admin].map(String::len);
    let place = places.into_iter().max().unwrap_or_default();
    format!(
        "clb {version}: a demonstration on loopback; `clb --help` tells how to serve a file.\n\n\
         \x20 tcp    {tcp:place$}  round-robin over a, b and c, which answer HTTP and echo all else\n\
         \x20 udp    {udp:place$}  round-robin over a, b and c, which echo\n\
         \x20 http   {http:place$}  the same a, b and c, request by request\n\
         \x20 https  {https:place$}  and over TLS, by a certificate made just now, without its key\n\
         \x20 keys   {keys:place$}  a key server, which alone has that key: it signs each handshake\n\
         \x20 admin  {admin:place$}  /metrics and /status\n\n\
         Try:\n{tries}\n\
         Ctrl-C drains and ends it.\n",
        version = env!("CARGO_PKG_VERSION"),
    )
}

async fn answer_all(name: &'static str, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(name, stream));
    }
}

/// Answers a request of HTTP with the backend's name, and echoes anything else.
async fn answer(name: &str, mut stream: TcpStream) -> io::Result<()> {
    let mut bytes = vec![0; 16 * 1024];
    let mut length = stream.read(&mut bytes).await?;
    if bytes.get(..length).is_some_and(is_request) {
        let body = format!("{name}\n");
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n";
        let text = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(text.as_bytes()).await?;
        return stream.shutdown().await;
    }
    while let Some(read) = bytes.get(..length).filter(|read| !read.is_empty()) {
        stream.write_all(read).await?;
        length = stream.read(&mut bytes).await?;
    }
    stream.shutdown().await
}

/// Whether these bytes begin with the first line of a request (RFC 9112, 3).
fn is_request(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r').next();
    line.is_some_and(|line| line.ends_with(b" HTTP/1.1"))
}

async fn echo_datagrams(socket: UdpSocket) {
    let mut bytes = vec![0; usize::from(u16::MAX)];
    loop {
        // An error is told of an answer that met a closed port; the next datagram is another's.
        let Ok((length, from)) = socket.recv_from(&mut bytes).await else {
            continue;
        };
        if let Some(datagram) = bytes.get(..length) {
            let _ = socket.send_to(datagram, from).await;
        }
    }
}

/// The backends of each protocol.
const NAMES: [&str; 3] = ["a", "b", "c"];

/// Any free port.
const LOOPBACK: &str = "127.0.0.1:0";
/// The ports that are taken if nobody else has them.
const ADMIN: &str = "127.0.0.1:9000";
const TCP: &str = "127.0.0.1:18209";
const UDP: &str = "127.0.0.1:18210";
const HTTP: &str = "127.0.0.1:18211";
const HTTPS: &str = "127.0.0.1:18212";
const KEYS: &str = "127.0.0.1:18213";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_demonstration_is_a_good_file_with_nothing_odd_in_it() {
        let demo = Demo::start().await.expect("loopback");
        let parsed = config::parse(&demo.text).expect("a good file");
        assert_eq!(parsed.warnings, []);
        assert_eq!(
            (parsed.config.pools.len(), parsed.config.listeners.len()),
            (2, 4)
        );
    }

    #[tokio::test]
    async fn the_only_private_key_in_the_file_is_the_one_that_the_node_is_known_by() {
        let demo = Demo::start().await.expect("loopback");
        assert_eq!(
            demo.text.matches("PRIVATE KEY").count(),
            2,
            "its begin and end"
        );
        let (_, key_server) = demo.text.split_once("[key_server]").expect("a key server");
        assert_eq!(key_server.matches("PRIVATE KEY").count(), 2);
        assert!(demo.text.contains("key = \"remote\""));
    }

    #[tokio::test]
    async fn a_backend_answers_http_with_its_name_and_echoes_all_else() {
        let listener = TcpListener::bind(LOOPBACK).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(answer_all("b", listener));
        for (asked, expected) in [
            ("GET / HTTP/1.1\r\n\r\n", "\r\n\r\nb\n"),
            ("hello", "hello"),
        ] {
            let mut client = TcpStream::connect(address).await.expect("a backend");
            client.write_all(asked.as_bytes()).await.expect("sent");
            client.shutdown().await.expect("half closed");
            let mut text = String::new();
            client.read_to_string(&mut text).await.expect("answered");
            assert!(text.ends_with(expected), "{text}");
        }
    }

    #[test]
    fn the_comments_of_the_welcome_stand_in_one_column() {
        let text = welcome(&Places {
            admin: "127.0.0.1:9000".into(),
            tcp: "127.0.0.1:1".into(),
            udp: "127.0.0.1:65535".into(),
            http: "127.0.0.1:80".into(),
            https: "127.0.0.1:443".into(),
            keys: "127.0.0.1:2407".into(),
        });
        let columns: Vec<_> = text.lines().filter_map(|line| line.find('#')).collect();
        assert_eq!(columns.len(), 7, "{text}");
        assert!(columns.iter().all(|column| *column == columns[0]), "{text}");
    }

    #[test]
    fn the_welcome_names_every_address_and_command() {
        let text = welcome(&Places {
            admin: "127.0.0.1:3".into(),
            tcp: "127.0.0.1:1".into(),
            udp: "127.0.0.1:2".into(),
            http: "127.0.0.1:4".into(),
            https: "127.0.0.1:5".into(),
            keys: "127.0.0.1:6".into(),
        });
        for part in [
            "http://127.0.0.1:1/",
            "nc -N 127.0.0.1 1 ",
            "nc -u -w1 127.0.0.1 2 ",
            "http://127.0.0.1:3/status",
            "curl http://127.0.0.1:4/ http://127.0.0.1:4/clb ",
            "curl -k https://127.0.0.1:5/ ",
            "  keys   127.0.0.1:6  ",
            "http://127.0.0.1:3/metrics | grep ^clb_key_server ",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
