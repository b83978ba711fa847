//! `Ketama` places keys where a real nginx places them. Skipped, with a note, where nginx is missing.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lbcore::backend::Admin;
use lbcore::schedule::Ketama;
use lbcore::{Backend, Instant, Pick, Pool};

/// Backends on loopback addresses of their own, so that no other test has them: the same as in the
/// vectors of `lbcore::schedule::ketama`.
const PORTS: [(&str, u16); 3] = [
    ("127.0.81.1:18101", 1),
    ("127.0.81.2:18102", 2),
    ("127.0.81.3:18103", 5),
];

const KEYS: usize = 1_000;

#[test]
fn ketama_places_1000_keys_on_weighted_ports_as_nginx_does() {
    let backends = PORTS.map(|(address, weight)| Server::new(address, weight));
    compare("ports", backends);
}

#[test]
fn ketama_places_keys_on_unix_sockets_as_nginx_does() {
    let backends = ["a", "b", "c"].map(|name| Server::new(&format!("unix:@{name}.sock"), 2));
    compare("sockets", backends);
}

#[test]
fn ketama_goes_past_a_backend_that_is_out_of_service_as_nginx_does() {
    let mut backends = [1, 2, 5, 3]
        .into_iter()
        .zip(18_111..)
        .map(|(weight, port)| Server::new(&format!("127.0.81.4:{port}"), weight))
        .collect::<Vec<_>>();
    backends[2].down = true;
    compare("down", backends);
}

/// One backend, as both are told of it; `@` in an address is the directory of the test.
struct Server {
    address: String,
    weight: u16,
    down: bool,
}

impl Server {
    fn new(address: &str, weight: u16) -> Self {
        Self {
            address: address.to_owned(),
            weight,
            down: false,
        }
    }
}

/// Asks nginx and `Ketama` for the backend of each key.
fn compare(name: &str, backends: impl IntoIterator<Item = Server>) {
    let Some(nginx) = Nginx::start(name, backends.into_iter().collect()) else {
        return;
    };
    let admin = |down| {
        if down {
            Admin::Maintenance
        } else {
            Admin::Ready
        }
    };
    let pool = Pool::new(Ketama::default()).backends(nginx.backends.iter().map(|server| {
        let address = server.address.parse().unwrap();
        Backend::new(&server.address, address)
            .weight(server.weight)
            .admin(admin(server.down))
    }));
    let mut balancer = pool.balancer(0);
    let mut client = nginx.client();
    for number in 0..KEYS {
        let key = format!("/a/{number:x}/{}", "z".repeat(number % 40));
        let pick = Pick::keyed(Ketama::key(key.as_bytes()));
        let lease = balancer.acquire(Instant::ZERO, &pick).unwrap();
        let theirs = client.ask(&key).unwrap();
        assert_eq!(lease.address().to_string(), theirs, "key {key}");
    }
}

struct Nginx {
    directory: PathBuf,
    backends: Vec<Server>,
}

impl Nginx {
    /// Starts nginx with these backends, each played by itself; `None` if it is not installed.
    fn start(name: &str, mut backends: Vec<Server>) -> Option<Self> {
        let version = Command::new("nginx")
            .arg("-v")
            .stderr(Stdio::null())
            .status();
        if version.is_err() {
            let note = "SKIPPED: nginx is not installed (Debian package nginx-light)\n";
            io::stderr().write_all(note.as_bytes()).unwrap();
            return None;
        }
        let own = format!("ketama-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(own);
        fs::create_dir_all(&directory).unwrap();
        for server in &mut backends {
            let path = format!("{}/", directory.display());
            server.address = server.address.replace('@', &path);
        }
        let nginx = Self {
            directory,
            backends,
        };
        fs::write(nginx.config(), nginx.text()).unwrap();
        // It puts itself into the background when its sockets listen.
        assert!(nginx.run(&[]), "nginx does not start");
        Some(nginx)
    }

    fn config(&self) -> PathBuf {
        self.directory.join("nginx.conf")
    }

    fn run(&self, arguments: &[&str]) -> bool {
        let errors = self.directory.join("error.log");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&self.directory);
        command.arg("-c").arg(self.config()).arg("-e").arg(errors);
        command.args(arguments).status().unwrap().success()
    }

    fn text(&self) -> String {
        let directory = self.directory.display();
        let mut upstream = String::new();
        let mut servers = String::new();
        for server in &self.backends {
            let Server {
                address, weight, ..
            } = server;
            let down = if server.down { "down" } else { "" };
            upstream += &format!("server {address} weight={weight} {down};\n");
            servers += &format!("server {{ listen {address}; return 204; }}\n");
        }
        format!(
            "user root;
             pid {directory}/pid;
             worker_processes 1;
             events {{ worker_connections 256; }}
             http {{
                 access_log off;
                 keepalive_requests 100000;
                 client_body_temp_path {directory}/t1; proxy_temp_path {directory}/t2;
                 fastcgi_temp_path {directory}/t3; uwsgi_temp_path {directory}/t4;
                 scgi_temp_path {directory}/t5;
                 upstream backends {{ hash $arg_k consistent; {upstream} }}
                 {servers}
                 server {{
                     listen unix:{directory}/front.sock;
                     location / {{
                         proxy_pass http://backends;
                         add_header X-Upstream $upstream_addr;
                     }}
                 }}
             }}"
        )
    }

    fn client(&self) -> Client {
        Client::connect(&self.directory.join("front.sock"))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.run(&["-s", "stop"]);
        // What is left behind is a few files in the temporary directory.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    fn connect(path: &Path) -> Self {
        Self {
            stream: BufReader::new(UnixStream::connect(path).unwrap()),
        }
    }

    /// The backend that answered for `key`.
    fn ask(&mut self, key: &str) -> io::Result<String> {
        let request = format!("GET /?k={key} HTTP/1.1\r\nHost: test\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut upstream = String::new();
        for line in self.stream.by_ref().lines() {
            let line = line?;
            if line.is_empty() {
                break;
            }
            if let Some(address) = line.strip_prefix("X-Upstream: ") {
                upstream = address.to_owned();
            }
        }
        Ok(upstream)
    }
}
