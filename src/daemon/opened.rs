//! What there is to go on with: the store, or what is left of it.

use std::net::SocketAddr;

use anyhow::Context;

use super::holder;
use crate::config::ServeConfig;
use crate::handover::LastTable;
use crate::router::table::Edit;
use crate::store::{self, Need, Reader, SCHEMA_VERSION, Spill, Store, StoreError, Writer};
use serin_core::ports::Loaded;

/// A store and what was loaded from it, or a stand-in that refuses every change.
pub(super) struct Opened {
    /// Holds the directory; `None` where there is no store to hold.
    pub(super) store: Option<Store>,
    pub(super) writer: Writer,
    pub(super) reader: Reader,
    pub(super) loaded: Loaded,
    /// What the router serves of what the store does not tell of, every alias on its stable version.
    pub(super) last_table: Vec<Edit>,
    /// Where evidence goes that the store does not take.
    pub(super) spill: Spill,
    /// Why there is no store, and what to do about it.
    pub(super) standing: Option<String>,
}

/// Takes the data directory, and says in it who has it and where its API is.
pub(super) fn open(need: Need, config: &ServeConfig, api_addr: SocketAddr) -> Result<Opened, StoreError> {
    let holder = format!("{}, API http://{api_addr}", holder("serve"));
    let (store, mut loaded) = Store::open_for(need, &config.data_dir, &holder)?;
    let (spill, aside) = Spill::open(&config.data_dir)?;
    loaded.aside = aside;
    let mut last_table = if loaded.is_damaged { last_table(config).edits } else { Vec::new() };
    last_table.retain(|edit| !matches!(edit, Edit::Alias(spec) if loaded.deleted.contains(&spec.alias)));
    let (writer, reader) = (store.writer.clone(), store.reader.clone());
    Ok(Opened { store: Some(store), writer, reader, loaded, last_table, spill, standing: None })
}

/// The same for a process that starts where none runs: whatever is wrong with the store of a directory that was used, it
/// serves by the last table.
///
/// Fails where the directory or the file is another's: another daemon's, another program's, a newer serin's.
pub(super) fn open_or_stand(config: &ServeConfig, api_addr: SocketAddr) -> anyhow::Result<Opened> {
    let why = match open(Need::Read, config, api_addr) {
        Ok(opened) => return Ok(opened),
        Err(why) => why,
    };
    let last = last_table(config);
    // Which serin was here last is in the table, too: a store that says otherwise is damaged.
    let was_ours = last.schema == SCHEMA_VERSION;
    let is_refused = match &why {
        StoreError::Foreign { .. } | StoreError::NewerSchema { .. } => !was_ours,
        other => other.is_refusal() || !(was_ours || store::is_used(&config.data_dir)),
    };
    if is_refused {
        return Err(why.into());
    }
    let dir = config.data_dir.display();
    let why = format!("{:#}", anyhow::Error::new(why));
    let standing = format!(
        "there is no store to work with: {why}. The router serves the last table, every alias on its stable version, and \
         every change is refused. `serin fsck --data-dir {dir}` says more; `serin restore --from BACKUP --data-dir {dir}` \
         puts a backup in its place, and this process goes on with it by itself"
    );
    tracing::error!("{standing}");
    let writer =
        Writer::without_store(&config.data_dir, standing.clone()).context("cannot stand in for the store")?;
    let (spill, _) = Spill::open(&config.data_dir)?;
    Ok(Opened {
        store: None,
        spill,
        writer,
        reader: Reader::of(&config.data_dir),
        loaded: Loaded {
            is_damaged: true,
            problems: Vec::new(),
            trouble: Some(standing.clone()),
            ..Loaded::default()
        },
        last_table: last.edits,
        standing: Some(standing),
    })
}

fn last_table(config: &ServeConfig) -> LastTable {
    match LastTable::read(&config.data_dir) {
        Ok(last) => last.unwrap_or_default(),
        Err(why) => {
            tracing::error!("{why}");
            LastTable::default()
        }
    }
}
