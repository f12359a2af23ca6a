//! What is counted: call sites, shares of threads, waits.

use super::{Builder, check};
use crate::ingest::file::container::Damage;
use crate::ingest::file::v1::counts::{CallRow, ShareRow, SiteRow, WaitEventRow, WaitKeyRow, WaitRow};
use crate::model::{Site, WaitEvent};

impl Builder {
    pub(super) fn site(&mut self, row: SiteRow) -> Result<(), Damage> {
        self.charge(row.memory() + size_of::<Site>() as u64)?;
        row.counts().try_for_each(|events| self.count(events))?;
        let site = row.site().ok_or(Damage::Senseless("a call site that has no meaning"))?;
        check(site.key.lock.index(), self.session.locks.len(), "a call site of an unknown lock")?;
        self.known_stack(site.key.stack)?;
        let profile = &mut self.session.profile;
        let next = profile.sites.len();
        if profile.site(site.key).index() != next {
            return Err(Damage::Senseless("a call site is there twice"));
        }
        profile.sites[next] = site;
        Ok(())
    }

    pub(super) fn share(&mut self, row: ShareRow) -> Result<(), Damage> {
        let (key, share) = row.share();
        check(key.0.index(), self.session.threads.len(), "a share of an unknown thread")?;
        check(key.1.index(), self.session.profile.sites.len(), "a share of an unknown call site")?;
        if self.last_share.replace(key) >= Some(key) {
            return Err(Damage::Senseless("shares out of order"));
        }
        self.count(share.acquisitions)?;
        self.count(share.contended)?;
        self.session.profile.by_thread.insert(key, share);
        Ok(())
    }

    pub(super) fn wait_key(&mut self, row: WaitKeyRow) -> Result<(), Damage> {
        let key = row.key().ok_or(Damage::Senseless("a wait that has no meaning"))?;
        check(key.lock.index(), self.session.locks.len(), "a wait for an unknown lock")?;
        for thread in [Some(key.thread), key.holder_thread].into_iter().flatten() {
            check(thread.index(), self.session.threads.len(), "a wait of an unknown thread")?;
        }
        self.known_stack(key.waiter)?;
        self.known_stack(key.holder)?;
        if self.wait_keys.last() >= Some(&key) {
            return Err(Damage::Senseless("waits out of order"));
        }
        self.wait_keys.push(key);
        Ok(())
    }

    pub(super) fn wait(&mut self, row: WaitRow) -> Result<(), Damage> {
        let key = *self.wait_keys.get(row.key as usize).ok_or(Damage::Senseless("a wait that is not there"))?;
        self.count(row.stats().count)?;
        if self.session.profile.waits.insert(key, row.stats()).is_some() {
            return Err(Damage::Senseless("a wait is there twice"));
        }
        Ok(())
    }

    pub(super) fn call_name(&mut self, name: &str) -> Result<(), Damage> {
        let names = &mut self.session.profile.call_names;
        // An empty name comes before every other.
        if names.last().map_or("", String::as_str) >= name {
            return Err(Damage::Senseless("names of calls out of order"));
        }
        names.push(name.to_owned());
        Ok(())
    }

    pub(super) fn call(&mut self, row: CallRow) -> Result<(), Damage> {
        let (key, stats) = row.call();
        check(key.lock.index(), self.session.locks.len(), "a call under an unknown lock")?;
        check(key.call.0 as usize, self.session.profile.call_names.len(), "a call without a name")?;
        self.known_stack(key.stack)?;
        self.known_stack(key.taken)?;
        [stats.count, stats.folded, stats.waits].into_iter().try_for_each(|events| self.count(events))?;
        if self.session.profile.calls.insert(key, stats).is_some() {
            return Err(Damage::Senseless("a call is there twice"));
        }
        Ok(())
    }

    pub(super) fn wait_event(&mut self, row: WaitEventRow) -> Result<(), Damage> {
        let key = *self.wait_keys.get(row.key as usize).ok_or(Damage::Senseless("a wait that is not there"))?;
        let start_ns = self.last_start_ns.wrapping_add(row.start_step_ns as u64);
        self.last_start_ns = start_ns;
        let WaitEventRow { wait_ns, hold_ns, .. } = row;
        self.session.profile.wait_events.push(WaitEvent { key, start_ns, wait_ns, hold_ns });
        Ok(())
    }
}
