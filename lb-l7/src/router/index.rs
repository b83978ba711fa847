//! Finds the rule for a request without looking at the others.

use std::iter::successors;

use http::request::Parts;

use super::host::{self, Host, HostRule};
use super::predicate::Predicate;
use super::tree::{NodeId, Reached, Tree};

/// All rules by host, then by path.
#[derive(Debug)]
pub(super) struct Index {
    /// Labels from the right, so that what is below a name is below it here.
    hosts: Tree<HostNode>,
    host_root: NodeId,
    any_host: Option<usize>,
    /// Whether any rule is for some hosts only.
    names_hosts: bool,
    tables: Vec<Table>,
    /// The paths of every table, each under its own root.
    paths: Tree<PathNode>,
}

/// The tables of a name, by place.
#[derive(Debug, Default)]
struct HostNode {
    exact: Option<usize>,
    below: Option<usize>,
}

/// The rules of one host.
#[derive(Debug)]
struct Table {
    root: NodeId,
    patterns: Vec<Entry>,
    any_path: Vec<Entry>,
}

/// The rules of one path, those with more predicates first.
#[derive(Debug, Default)]
struct PathNode {
    exact: Vec<Entry>,
    prefix: Vec<Entry>,
}

/// One match of one rule.
#[derive(Debug)]
pub(super) struct Entry {
    /// The place of the rule.
    pub(super) rule: usize,
    /// How many bytes of the path a prefix takes, without a slash at its end.
    pub(super) prefix: usize,
    pub(super) predicates: Box<[Predicate]>,
}

/// Where an entry goes beneath its host; paths in their normal form.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Place {
    Any,
    Exact(String),
    Pattern(String),
    /// Without a slash at its end.
    Prefix(String),
}

impl Index {
    pub(super) fn new() -> Self {
        let mut hosts = Tree::new();
        let host_root = hosts.plant();
        Self {
            hosts,
            host_root,
            any_host: None,
            names_hosts: false,
            tables: Vec::new(),
            paths: Tree::new(),
        }
    }

    /// Adds an entry behind those before it that have as many predicates.
    pub(super) fn insert(&mut self, host: &HostRule, place: &Place, entry: Entry) {
        let at = self.table_of(host);
        let Some(table) = self.tables.get_mut(at) else {
            return;
        };
        let (path, exact) = match place {
            Place::Any => return insert(&mut table.any_path, entry),
            // In the order they are written, whatever else they ask for.
            Place::Pattern(_) => return table.patterns.push(entry),
            Place::Exact(path) => (path, true),
            Place::Prefix(path) => (path, false),
        };
        let node = self.paths.insert(table.root, segments(path));
        if let Some(node) = self.paths.value_mut(node) {
            let list = if exact {
                &mut node.exact
            } else {
                &mut node.prefix
            };
            insert(list, entry);
        }
    }

    /// The table of these hosts, made if there is none.
    fn table_of(&mut self, host: &HostRule) -> usize {
        let next = self.tables.len();
        let slot = match host {
            HostRule::Any => Some(&mut self.any_host),
            HostRule::Exact(name) | HostRule::Below(name) => {
                self.names_hosts = true;
                let labels = host::labels(name.as_bytes());
                let node = self.hosts.insert(self.host_root, labels);
                let exact = matches!(host, HostRule::Exact(_));
                self.hosts.value_mut(node).map(|node| match exact {
                    true => &mut node.exact,
                    false => &mut node.below,
                })
            }
        };
        let at = slot.map_or(next, |slot| *slot.get_or_insert(next));
        if at == next {
            let root = self.paths.plant();
            self.tables.push(Table {
                root,
                patterns: Vec::new(),
                any_path: Vec::new(),
            });
        }
        at
    }

    /// The first entry, in the order of precedence, that the request fits.
    pub(super) fn find(&self, parts: &Parts) -> Option<&Entry> {
        // Without a rule for some host, no host is read.
        let host = self.names_hosts.then(|| Host::of(&parts.headers)).flatten();
        let reached = host.map(|host| self.hosts.descend(self.host_root, host.labels()));
        let named = reached.into_iter().flat_map(|reached| self.named(reached));
        named
            .chain(self.any_host)
            .filter_map(|at| self.tables.get(at))
            .find_map(|table| self.by_path(table, parts))
    }

    /// The tables for a host, the most specific first.
    fn named(&self, reached: Reached) -> impl Iterator<Item = usize> {
        let Reached { node, whole } = reached;
        let exact = self.hosts.value(node).filter(|_| whole);
        // A name is not below itself.
        let above = if whole {
            self.hosts.parent(node)
        } else {
            Some(node)
        };
        let above = successors(above, |&node| self.hosts.parent(node));
        let below = above.filter_map(|node| self.hosts.value(node)?.below);
        exact.and_then(|node| node.exact).into_iter().chain(below)
    }

    fn by_path<'s>(&'s self, table: &'s Table, parts: &Parts) -> Option<&'s Entry> {
        let path = parts.uri.path();
        // The targets `*` and those of `CONNECT` are no paths.
        if !path.starts_with('/') {
            return first(&table.any_path, parts);
        }
        let Reached { node, whole } = self.paths.descend(table.root, segments(path));
        let exact = self.paths.value(node).filter(|_| whole);
        let upwards = successors(Some(node), |&node| self.paths.parent(node));
        exact
            .and_then(|node| first(&node.exact, parts))
            .or_else(|| {
                upwards
                    .filter_map(|node| self.paths.value(node))
                    .find_map(|node| first(&node.prefix, parts))
            })
            .or_else(|| first(&table.patterns, parts))
            .or_else(|| first(&table.any_path, parts))
    }
}

/// The segments of a path; none of the empty one, which is the prefix of all.
fn segments(path: &str) -> impl Iterator<Item = &[u8]> {
    let below = path.strip_prefix('/').map(str::as_bytes);
    let below = below.map(|path| path.split(|&byte| byte == b'/'));
    below.into_iter().flatten()
}

fn insert(list: &mut Vec<Entry>, entry: Entry) {
    let more = |other: &Entry| other.predicates.len() >= entry.predicates.len();
    list.insert(list.partition_point(more), entry);
}

fn first<'e>(list: &'e [Entry], parts: &Parts) -> Option<&'e Entry> {
    list.iter().find(|entry| {
        entry
            .predicates
            .iter()
            .all(|predicate| predicate.holds(parts))
    })
}
