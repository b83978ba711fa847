//! What a new file needs, made before anything is changed.

use std::collections::BTreeMap;

use lb_keyserver::KeyClient;
use tokio::net::TcpListener;

use super::listeners::{self, Bound};
use super::pools::{Served, Way};
use super::settings::Shared;
use super::{Engine, packets, pool};
use crate::config::Config;
use crate::reload::{Changes, ListenerChange, PoolChange};

/// What a change needs, made before anything is changed.
pub(super) struct Prepared {
    pub(super) pools: BTreeMap<String, Served>,
    /// The new ways of http to the backends of pools that stay.
    pub(super) ways: BTreeMap<String, Way>,
    pub(super) listeners: Vec<Bound>,
    pub(super) packets: Option<packets::Prepared>,
    pub(super) admin: Option<TcpListener>,
    /// Where the key servers that are in use do not serve.
    pub(super) key_client: Option<KeyClient>,
}

impl Engine {
    /// All that can fail: whatever it has made is dropped if the rest fails.
    pub(super) async fn prepare(
        &self,
        changes: &Changes,
        config: &Config,
    ) -> Result<Prepared, String> {
        let key_client = self.remote_keys.prepare(config)?;
        let elsewhere = self.remote_keys.elsewhere(config);
        let workers = self.workers.count();
        let (mut pools, mut ways) = (BTreeMap::new(), BTreeMap::new());
        for change in &changes.pools {
            match change {
                PoolChange::Add(pool) | PoolChange::Rebuild(pool) => {
                    let served = Served::start(self.clock, &self.places, pool);
                    let served = served.map_err(|error| format!("pool.{}: {error}", pool.name))?;
                    pools.insert(pool.name.clone(), served);
                }
                PoolChange::Update { pool, rewires, .. } if *rewires => {
                    if let Some(served) = self.pools.get(&pool.name) {
                        let way = served.other_way(&pool.upstream, workers)?;
                        ways.insert(pool.name.clone(), way);
                    }
                }
                PoolChange::Update { .. } | PoolChange::Remove(_) => {}
            }
        }
        let found = |name: &str| pool(&pools, name).or_else(|| pool(&self.pools, name));
        let upstreams = |name: &str| {
            let new = pools.get(name).and_then(|served| served.way(workers).ok());
            let new = new.or_else(|| ways.get(name).cloned());
            new.or_else(|| self.pools.get(name)?.way(workers).ok())
        };
        let shared = Shared {
            pools: &found,
            upstreams: &upstreams,
            budget: &self.budget,
            keys: &self.keys,
            elsewhere: elsewhere.as_ref(),
        };
        let mut listeners: Vec<Bound> = Vec::new();
        for change in &changes.listeners {
            if let ListenerChange::Add(listener) | ListenerChange::Move(listener) = change {
                let is_ours = self.listeners.iter().any(|one| one.is_at(listener))
                    || listeners.iter().any(|one| one.is_at(listener));
                listeners.push(listeners::bind(listener, &shared, workers, is_ours).await?);
            }
        }
        let packets = packets::prepare(self.packets.as_ref(), config, self.clock, &found)?;
        let admin = match config.admin.filter(|_| changes.admin) {
            Some(admin) => {
                let bound = TcpListener::bind(admin.listen).await;
                let told = |error| format!("admin: cannot listen at {}: {error}", admin.listen);
                Some(bound.map_err(told)?)
            }
            None => None,
        };
        Ok(Prepared {
            pools,
            ways,
            listeners,
            packets,
            admin,
            key_client,
        })
    }
}
