//! nginx, HAProxy, iperf3 and dnsmasq, with the shortest configuration that serves.
//!
//! Each function gives the [`Launch`], so that the caller may pin it, move it into a namespace, or
//! add files before it starts. All are one process with one thread.

use std::net::SocketAddr;

use crate::keys::{CERT, KEY, Keys};
use crate::process::Launch;
use crate::procfs::Protocol;

/// nginx with this text after its global directives: `events`, and then `http` or `stream`.
pub fn nginx(text: &str) -> Launch {
    // Debian builds `stream` as a module; an absolute path, as `-p` moves the relative ones.
    let globals = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;
                   daemon off; master_process off; worker_rlimit_nofile 20000;
                   pid nginx.pid; error_log stderr error;";
    Launch::new("nginx")
        .args(["-p", ".", "-e", "stderr", "-c", "nginx.conf"])
        .file("nginx.conf", &format!("{globals}\n{text}\n"))
}

/// nginx that answers every HTTP request at `address` by 200 and `body`.
pub fn http_server(address: SocketAddr, body: &str) -> Launch {
    let text = format!(
        "events {{ worker_connections 16384; }}
         http {{
             access_log off; keepalive_requests 1000000000; client_body_temp_path body;
             proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
             scgi_temp_path scgi;
             server {{ listen {address} backlog=4096; return 200 \"{body}\"; }}
         }}"
    );
    nginx(&text).serving(Protocol::Tcp, address)
}

/// The same over TLS, in HTTP/2 or HTTP/1.1.
pub fn https_server(address: SocketAddr, body: &str, keys: &Keys) -> Launch {
    let text = format!(
        "events {{ worker_connections 16384; }}
         http {{
             access_log off; keepalive_requests 1000000000; client_body_temp_path body;
             proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
             scgi_temp_path scgi;
             ssl_certificate {CERT}; ssl_certificate_key {KEY}; ssl_protocols TLSv1.2 TLSv1.3;
             server {{ listen {address} ssl http2 backlog=4096; return 200 \"{body}\"; }}
         }}"
    );
    keys.beside(nginx(&text)).serving(Protocol::Tcp, address)
}

/// HAProxy with this text after its global section.
pub fn haproxy(text: &str) -> Launch {
    // Two descriptors a connection, and two a pipe, within 20,000.
    let globals = "global\n nbthread 1\n maxconn 9500\n maxpipes 64\n";
    Launch::new("haproxy")
        .args(["-db", "-f", "haproxy.cfg"])
        .file("haproxy.cfg", &format!("{globals}{text}\n"))
}

/// An iperf3 server at `address`, which ends after one client: for more clients it would close its
/// port for a moment after each, and refuse whoever came then.
pub fn iperf3_server(address: SocketAddr) -> Launch {
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    Launch::new("iperf3")
        .args(["--server", "--one-off", "--bind", &ip, "--port", &port])
        .serving(Protocol::Tcp, address)
}

/// dnsmasq at `address`, by UDP and TCP, which knows these names and nothing else.
pub fn dns_server(address: SocketAddr, names: &[(&str, &str)]) -> Launch {
    let mut text = format!(
        "no-daemon\nno-resolv\nno-hosts\nbind-interfaces\nlisten-address={}\nport={}\nuser=root\n",
        address.ip(),
        address.port()
    );
    for (name, ip) in names {
        text.push_str(&format!("address=/{name}/{ip}\n"));
    }
    Launch::new("dnsmasq")
        .args(["--conf-file=dnsmasq.conf", "--pid-file="])
        .file("dnsmasq.conf", &text)
        .serving(Protocol::Udp, address)
        .serving(Protocol::Tcp, address)
}

/// Runs a client to its end, and returns what it printed.
///
/// # Panics
///
/// When it fails or takes longer than `limit`.
#[track_caller]
#[must_use]
pub fn run<'a>(
    program: &str,
    args: impl IntoIterator<Item = &'a str>,
    limit: std::time::Duration,
) -> String {
    let mut process = Launch::new(program).args(args).start();
    let status = process.wait(limit);
    assert!(status.success(), "{program}: {status}\n{}", process.log());
    process.log()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::free_address;
    use crate::wait::PATIENCE;

    #[test]
    fn nginx_answers_curl() {
        let address = free_address();
        let _server = http_server(address, "hello").start();
        let url = format!("http://{address}/");
        assert_eq!(run("curl", ["--silent", &url], PATIENCE), "hello");
    }

    #[test]
    fn haproxy_relays_to_nginx() {
        let (front, back) = (free_address(), free_address());
        let _server = http_server(back, "through").start();
        let _proxy = haproxy(&format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
             listen front\n bind {front}\n server a {back}\n"
        ))
        .serving(Protocol::Tcp, front)
        .start();
        let url = format!("http://{front}/");
        assert_eq!(run("curl", ["--silent", &url], PATIENCE), "through");
    }

    #[test]
    fn dnsmasq_answers_dig() {
        let address = free_address();
        let _server = dns_server(address, &[("a.test", "192.0.2.7")]).start();
        let server = format!("@{}", address.ip());
        let port = address.port().to_string();
        let answer = run("dig", [&server, "-p", &port, "+short", "a.test"], PATIENCE);
        assert_eq!(answer.trim(), "192.0.2.7");
    }
}
