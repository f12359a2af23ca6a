//! A whole session at one moment, without names: in memory, and as it is sent and kept.

use std::io;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::control::SessionCopy;
use crate::ingest::file;
use crate::model::{CodeAddress, LockId, ModuleId, Session};

/// A session at one moment, without names, as it is sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// The moment, ns since the start of the session.
    pub at_ns: u64,
    /// The session as a trace file.
    pub trace: Vec<u8>,
    /// Where locks lie in their module's data: lock, module, address.
    pub data_addresses: Vec<(u32, Option<u32>, u64)>,
}

impl Moment {
    /// Puts a session into it.
    ///
    /// # Errors
    /// Where the session is too large for a trace file.
    pub fn of(
        at_ns: u64,
        session: &Session,
        addresses: impl Iterator<Item = (LockId, CodeAddress)>,
    ) -> io::Result<Self> {
        let mut trace = Vec::new();
        file::write(session, &mut trace).map_err(io::Error::other)?;
        let data_addresses =
            addresses.map(|(lock, at)| (lock.0, at.module.map(|module| module.0), at.address)).collect();
        Ok(Self { at_ns, trace, data_addresses })
    }
}

/// A session at one moment, without names.
pub struct SessionAt {
    /// The moment, ns since the start of the session.
    pub at_ns: u64,
    /// The session so far.
    pub session: Session,
    /// Where locks lie in their module's data.
    pub data_addresses: FxHashMap<LockId, CodeAddress>,
}

impl TryFrom<Moment> for SessionAt {
    type Error = file::ReadError;

    fn try_from(Moment { at_ns, trace, data_addresses }: Moment) -> Result<Self, Self::Error> {
        let address = |(lock, module, address): (u32, Option<u32>, u64)| {
            (LockId(lock), CodeAddress { module: module.map(ModuleId), address })
        };
        let data_addresses = data_addresses.into_iter().map(address).collect();
        Ok(Self { at_ns, session: file::read_sized(&trace[..], trace.len() as u64)?, data_addresses })
    }
}

impl From<SessionCopy> for SessionAt {
    fn from(SessionCopy { collected, now }: SessionCopy) -> Self {
        Self { at_ns: now.at_ns, session: collected.session, data_addresses: collected.data_addresses }
    }
}
