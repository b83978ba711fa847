//! From one configuration to the next: what is to be done, and what is left alone.

use std::collections::{BTreeMap, BTreeSet};

use lbcore::{Backend, BackendId, Delta};

use crate::config::{Config, Listener, Pool, Protocol, Target};

/// What is to be done to get from one configuration to another; what is not named stays as it is.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// In the order of the new file, then those that go.
    pub(crate) pools: Vec<PoolChange>,
    /// In the order of the new file, then those that go.
    pub(crate) listeners: Vec<ListenerChange>,
    /// Whether the admin endpoint is to listen elsewhere, or no longer.
    pub(crate) admin: bool,
    /// What only a restart changes.
    pub(crate) restart: Vec<&'static str>,
}

/// What becomes of one pool.
#[derive(Debug)]
pub(crate) enum PoolChange {
    /// It is new.
    Add(Pool),
    /// Its scheduler is another one: a new pool takes its place, and the sessions of the old go on.
    Rebuild(Pool),
    /// It is gone; its sessions go on.
    Remove(String),
    /// It stays, with its sessions, counters and health.
    Update {
        /// As it is to be.
        pool: Pool,
        /// What becomes of its backends.
        deltas: Vec<Delta>,
        /// Whether http reaches them in another way: connections are made anew.
        rewires: bool,
    },
}

/// What becomes of one listener.
#[derive(Debug)]
pub(crate) enum ListenerChange {
    /// It is new.
    Add(Listener),
    /// It listens elsewhere: the new sockets are bound before the old ones drain.
    Move(Listener),
    /// It is gone, and drains.
    Remove(String),
    /// It keeps its sockets, and treats new sessions otherwise.
    Update(Listener),
}

/// What is to be done to get from `old` to `new`.
pub(crate) fn changes(old: &Config, new: &Config) -> Changes {
    let pools = pools(&old.pools, &new.pools);
    let asks_otherwise = match (&old.key_server, &new.key_server) {
        (Some(old), Some(new)) => !old.asks_as(new),
        (old, new) => old.is_some() != new.is_some(),
    };
    let sockets = |config: &Config| {
        let all = config.listeners.iter();
        let sockets = all.filter(|listener| listener.forwarding.is_none());
        sockets.cloned().collect::<Vec<_>>()
    };
    let listeners = listeners(&sockets(old), &sockets(new), &pools, asks_otherwise);
    let restart = [
        ("workers", old.workers != new.workers),
        ("budget", old.budget != new.budget),
        // Where nothing was forwarded before, all of it can begin.
        ("packet", old.packet.is_some() && old.packet != new.packet),
    ];
    Changes {
        listeners,
        pools,
        admin: old.admin != new.admin,
        restart: restart
            .into_iter()
            .filter_map(|(key, changed)| changed.then_some(key))
            .collect(),
    }
}

fn pools(old: &[Pool], new: &[Pool]) -> Vec<PoolChange> {
    let before: BTreeMap<&str, &Pool> = old.iter().map(|pool| (pool.name.as_str(), pool)).collect();
    let mut changes: Vec<PoolChange> = new
        .iter()
        .filter_map(|pool| match before.get(pool.name.as_str()) {
            None => Some(PoolChange::Add(pool.clone())),
            Some(before) if *before == pool => None,
            Some(before) if before.scheduler != pool.scheduler => {
                Some(PoolChange::Rebuild(pool.clone()))
            }
            Some(before) => Some(PoolChange::Update {
                deltas: backends(&before.backends, &pool.backends),
                rewires: before.upstream != pool.upstream,
                pool: pool.clone(),
            }),
        })
        .collect();
    let gone = old
        .iter()
        .filter(|pool| new.iter().all(|other| other.name != pool.name));
    changes.extend(gone.map(|pool| PoolChange::Remove(pool.name.clone())));
    changes
}

/// Who goes, then who comes or has changed.
fn backends(old: &[Backend], new: &[Backend]) -> Vec<Delta> {
    let before: BTreeMap<BackendId, &Backend> = old.iter().map(|b| (b.id, b)).collect();
    let after: BTreeSet<BackendId> = new.iter().map(|b| b.id).collect();
    let gone = before
        .keys()
        .filter(|id| !after.contains(id))
        .map(|id| Delta::Remove(*id));
    let come = new
        .iter()
        .filter(|b| before.get(&b.id) != Some(b))
        .cloned()
        .map(Delta::Upsert);
    gone.chain(come).collect()
}

fn listeners(
    old: &[Listener],
    new: &[Listener],
    pools: &[PoolChange],
    asks_otherwise: bool,
) -> Vec<ListenerChange> {
    let named = |listener: &Listener| {
        let used = listener.target.pools();
        pools.iter().any(|change| match change {
            PoolChange::Rebuild(pool) => used.contains(pool.name.as_str()),
            PoolChange::Update { pool, rewires, .. } => {
                *rewires && listener.protocol.is_http() && used.contains(pool.name.as_str())
            }
            PoolChange::Add(_) | PoolChange::Remove(_) => false,
        })
    };
    let before: BTreeMap<&str, &Listener> = old.iter().map(|l| (l.name.as_str(), l)).collect();
    let mut changes: Vec<ListenerChange> = new
        .iter()
        .filter_map(|listener| match before.get(listener.name.as_str()) {
            None => Some(ListenerChange::Add(listener.clone())),
            Some(before) if !same_sockets(before, listener) => {
                Some(ListenerChange::Move(listener.clone()))
            }
            Some(before)
                if *before == listener
                    && !named(listener)
                    && !(asks_otherwise && has_remote_keys(listener)) =>
            {
                None
            }
            Some(_) => Some(ListenerChange::Update(listener.clone())),
        })
        .collect();
    let gone = old
        .iter()
        .filter(|l| new.iter().all(|other| other.name != l.name));
    changes.extend(gone.map(|l| ListenerChange::Remove(l.name.clone())));
    changes
}

/// Whether any of its keys is elsewhere.
fn has_remote_keys(listener: &Listener) -> bool {
    let tls = match &listener.target {
        Target::Http(http) => http.tls.as_ref(),
        _ => None,
    };
    tls.is_some_and(|tls| tls.remote_keys().next().is_some())
}

/// Whether the sockets of `old` serve `new` as well: TLS is passed through over the sockets of TCP.
fn same_sockets(old: &Listener, new: &Listener) -> bool {
    let kind = |listener: &Listener| match listener.protocol {
        Protocol::Tls => Protocol::Tcp,
        other => other,
    };
    old.listen == new.listen && kind(old) == kind(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// One word for each change, in order.
    fn told(old: &str, new: &str) -> String {
        let parse = |text: &str| config::parse(text).expect("a good file").config;
        let changes = changes(&parse(old), &parse(new));
        let pools = changes.pools.iter().map(|change| match change {
            PoolChange::Add(pool) => format!("+{}", pool.name),
            PoolChange::Rebuild(pool) => format!("!{}", pool.name),
            PoolChange::Remove(name) => format!("-{name}"),
            PoolChange::Update {
                pool,
                deltas,
                rewires,
            } => {
                let deltas: Vec<String> = deltas.iter().map(delta).collect();
                let rewires = if *rewires { "=" } else { "" };
                format!("~{}{rewires}[{}]", pool.name, deltas.join(" "))
            }
        });
        let listeners = changes.listeners.iter().map(|change| match change {
            ListenerChange::Add(listener) => format!("+{}", listener.name),
            ListenerChange::Move(listener) => format!(">{}", listener.name),
            ListenerChange::Remove(name) => format!("-{name}"),
            ListenerChange::Update(listener) => format!("~{}", listener.name),
        });
        let admin = changes.admin.then(|| "admin".to_owned());
        let restart = changes.restart.iter().map(|key| format!("?{key}"));
        let all: Vec<String> = pools.chain(listeners).chain(admin).chain(restart).collect();
        all.join(" ")
    }

    fn delta(delta: &Delta) -> String {
        match delta {
            Delta::Remove(id) => ["a", "b", "c"]
                .into_iter()
                .find(|name| BackendId::of_name(name) == *id)
                .map_or_else(String::new, |name| format!("-{name}")),
            Delta::Upsert(backend) => format!("{}*{}", backend.name, backend.weight.0),
            other => format!("{other:?}"),
        }
    }

    const OLD: &str = r#"
[[pool]]
name = "web"
scheduler = "random"
backends = [{ name = "a", address = "10.0.0.1:1" }, { name = "b", address = "10.0.0.2:1" }]
[[listener]]
name = "front"
protocol = "tcp"
listen = "127.0.0.1:80"
pool = "web"
[[listener]]
name = "side"
protocol = "udp"
listen = "127.0.0.1:80"
pool = "web"
"#;

    const OTHER: &str = "\n[[pool]]\nname = \"other\"\nscheduler = \"random\"\nbackends = [{ name = \"a\", address = \"10.0.0.1:1\" }]\n";

    #[test]
    fn the_same_file_changes_nothing() {
        assert_eq!(told(OLD, OLD), "");
        assert_eq!(told(OLD, &format!("# a remark\n{OLD}")), "");
    }

    #[test]
    fn only_the_backends_that_differ_are_touched() {
        let with = |list: &str| OLD.replace("{ name = \"b\", address = \"10.0.0.2:1\" }", list);
        let heavier = with("{ name = \"b\", address = \"10.0.0.2:1\", weight = 7 }");
        assert_eq!(told(OLD, &heavier), "~web[b*7]");
        let other = with("{ name = \"c\", address = \"10.0.0.3:1\" }");
        assert_eq!(told(OLD, &other), "~web[-b c*1]");
        let fewer = OLD.replace(", { name = \"b\", address = \"10.0.0.2:1\" }", "");
        assert_eq!(told(OLD, &fewer), "~web[-b]");
        assert_eq!(told(&fewer, OLD), "~web[b*1]");
        let swapped = with("{ name = \"b\", address = \"10.0.0.2:2\" }");
        assert_eq!(told(OLD, &swapped), "~web[b*1]");
    }

    #[test]
    fn a_setting_of_a_pool_touches_no_backend() {
        let checked = OLD.replace(
            "\n[[listener]]\nname = \"front\"",
            "\npanic_threshold = 0\n[[listener]]\nname = \"front\"",
        );
        assert_eq!(told(OLD, &checked), "~web[]");
        assert_eq!(told(OLD, &format!("zone = \"north\"\n{OLD}")), "~web[]");
    }

    #[test]
    fn another_question_of_probes_touches_no_backend_and_no_listener() {
        let checked = |health: &str| {
            let to = format!(
                "\nhealth = {{ kind = \"http\", {health} }}\n[[listener]]\nname = \"front\""
            );
            OLD.replace("\n[[listener]]\nname = \"front\"", &to)
        };
        let known = checked("path = \"/a\"");
        assert_eq!(told(OLD, &known), "~web[]");
        assert_eq!(told(&known, &known), "");
        for other in [
            "path = \"/b\"",
            "path = \"/a\", body = \"x\"",
            "path = \"/a\", tls = false",
        ] {
            assert_eq!(told(&known, &checked(other)), "~web[]", "{other}");
        }
    }

    #[test]
    fn another_scheduler_is_another_pool_and_every_listener_of_it_is_told() {
        let other = OLD.replace("\"random\"", "\"round-robin\"");
        assert_eq!(told(OLD, &other), "!web ~front ~side");
    }

    #[test]
    fn pools_and_listeners_come_and_go_by_name() {
        let more = format!("{OLD}{OTHER}");
        assert_eq!(told(OLD, &more), "+other");
        assert_eq!(told(&more, OLD), "-other");
        let renamed = OLD.replace("\"front\"", "\"door\"");
        assert_eq!(told(OLD, &renamed), "+door -front");
    }

    #[test]
    fn a_listener_keeps_its_sockets_unless_it_listens_elsewhere() {
        let idle = OLD.replace(
            "pool = \"web\"\n[[listener]]",
            "pool = \"web\"\nidle_timeout = \"1s\"\n[[listener]]",
        );
        assert_eq!(told(OLD, &idle), "~front");
        let tls = OLD.replace("\"tcp\"", "\"tls\"");
        assert_eq!(told(OLD, &tls), "~front");
        let port = OLD.replacen("127.0.0.1:80", "127.0.0.1:81", 1);
        assert_eq!(told(OLD, &port), ">front");
        let swapped = OLD
            .replace("\"tcp\"", "\"x\"")
            .replace("\"udp\"", "\"tcp\"")
            .replace("\"x\"", "\"udp\"");
        assert_eq!(told(OLD, &swapped), ">front >side");
        let target = format!("{OLD}{OTHER}").replacen("pool = \"web\"", "pool = \"other\"", 1);
        assert_eq!(told(OLD, &target), "+other ~front");
    }

    #[test]
    fn another_way_to_backends_is_told_to_listeners_of_http_alone() {
        let http = OLD.replace("\"tcp\"", "\"http\"");
        let h2 = |text: &str| text.replace("scheduler =", "protocol = \"h2\"\nscheduler =");
        assert_eq!(told(&http, &h2(&http)), "~web=[] ~front");
        assert_eq!(told(OLD, &h2(OLD)), "~web=[]");
        let rules = |pool: &str| {
            let rule = format!("rule = [{{ path = \"/x\", pool = \"{pool}\" }}]\n[[listener]]");
            format!("{http}{OTHER}").replacen(
                "[[listener]]\nname = \"side\"",
                &format!("{rule}\nname = \"side\""),
                1,
            )
        };
        assert_eq!(told(&rules("web"), &rules("other")), "~front");
        let both = rules("other");
        let other = both.replace(
            "name = \"other\"",
            "name = \"other\"\nconnections = { max_idle = 1 }",
        );
        assert_eq!(told(&both, &other), "~other=[] ~front", "by a rule");
    }

    #[test]
    fn another_way_to_ask_for_keys_is_told_to_listeners_that_ask_for_any() {
        let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("made");
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let file = |mode: &str, timeout: &str, address: &str| {
            let key_server = format!(
                "key_server = {{ addresses = [\"{address}\"], certificate = '''\n{cert}''', \
                 key = '''\n{key}''', ca = '''\n{cert}''', mode = \"{mode}\", \
                 timeout = \"{timeout}\" }}\n"
            );
            let https = |name: &str, key: &str| {
                format!(
                    "[[listener]]\nname = \"{name}\"\nprotocol = \"https\"\n\
                     listen = \"127.0.0.1:0\"\npool = \"web\"\n\
                     certificates = [{{ cert = '''\n{cert}''', key = {key} }}]\n"
                )
            };
            let here = format!("'''\n{key}'''");
            key_server + OLD + &https("far", "\"remote\"") + &https("near", &here)
        };
        let old = file("bound", "2s", "a.test");
        assert_eq!(told(&old, &old), "");
        assert_eq!(told(&old, &file("strict", "2s", "a.test")), "~far");
        assert_eq!(told(&old, &file("bound", "1s", "a.test")), "~far");
        assert_eq!(
            told(&old, &file("bound", "2s", "b.test")),
            "",
            "the client alone"
        );
    }

    #[test]
    fn requests_and_sessions_have_sockets_of_their_own() {
        let http = OLD.replace("\"tcp\"", "\"http\"");
        assert_eq!(told(OLD, &http), ">front");
        assert_eq!(told(&http, OLD), ">front");
        let rule = http.replacen(
            "pool = \"web\"",
            "pool = \"web\"\nrule = [{ path = \"/x\", respond = { status = 200 } }]",
            1,
        );
        assert_eq!(told(&http, &rule), "~front");
    }

    #[test]
    fn admin_workers_and_budget_are_told_apart() {
        let admin = |port: &str| format!("{OLD}\n[admin]\nlisten = \"127.0.0.1:{port}\"\n");
        assert_eq!(told(OLD, &admin("9000")), "admin");
        assert_eq!(told(&admin("9000"), &admin("9001")), "admin");
        assert_eq!(told(&admin("9000"), &admin("9000")), "");
        assert_eq!(told(OLD, &format!("workers = 3\n{OLD}")), "?workers");
        assert_eq!(
            told(OLD, &format!("budget = {{ sessions = 3 }}\n{OLD}")),
            "?budget"
        );
    }
}
