//! Modules, stacks, and the names of their frames.

use super::{Builder, ROW_OVERHEAD, check};
use crate::ingest::file::container::Damage;
use crate::ingest::file::v1::rows::{FrameRow, ModuleRow, NodeRow, SymbolRow};
use crate::model::{CodeAddress, Frame, Module, ModuleId, StackId};

impl Builder {
    pub(super) fn module(&mut self, row: ModuleRow) -> Result<(), Damage> {
        self.charge(size_of::<Module>() as u64)?;
        self.session.stacks.modules.push(Module { path: row.path.to_owned(), build_id: row.build_id.to_owned() });
        Ok(())
    }

    pub(super) fn node(&mut self, row: NodeRow) -> Result<(), Damage> {
        // A node, and an entry of the index over nodes.
        self.charge(96)?;
        let stacks = &mut self.session.stacks;
        let at = stacks.len();
        let caller = at.checked_sub(row.back as usize).filter(|caller| *caller < at);
        let caller = caller.ok_or(Damage::Senseless("a stack is its own caller"))?;
        if let Some(module) = row.module {
            check(module as usize, stacks.modules.len(), "code of an unknown module")?;
        }
        let address = CodeAddress { module: row.module.map(ModuleId), address: row.address };
        if stacks.intern(StackId::from(caller), address).index() != at {
            return Err(Damage::Senseless("a stack is there twice"));
        }
        Ok(())
    }

    pub(super) fn string(&mut self, text: &str) -> Result<(), Damage> {
        self.strings.push(text.to_owned());
        Ok(())
    }

    pub(super) fn frames(&mut self, rows: Vec<FrameRow>) -> Result<(), Damage> {
        let text = |at: Option<u32>| match at {
            None => Ok(None),
            Some(at) => self.strings.get(at as usize).map(Some).ok_or(Damage::Senseless("a name that is not there")),
        };
        let mut bytes = 0;
        for row in &rows {
            let texts = [text(row.function)?, text(row.file)?];
            let texts: usize = texts.into_iter().flatten().map(String::len).sum();
            bytes += (size_of::<Frame>() + texts) as u64 + ROW_OVERHEAD;
        }
        let frame = |row: &FrameRow| {
            Ok(Frame {
                function: text(row.function)?.cloned(),
                file: text(row.file)?.cloned(),
                line: row.line,
                column: row.column,
                inlined: row.inlined,
            })
        };
        // What it takes is known before it is taken.
        if bytes > self.memory_left {
            return Err(Damage::TooLarge);
        }
        let frames = rows.iter().map(frame).collect::<Result<Vec<_>, Damage>>()?;
        self.charge(bytes)?;
        self.lists.push(frames.into());
        Ok(())
    }

    pub(super) fn symbol(&mut self, row: SymbolRow) -> Result<(), Damage> {
        let node = self.symbolised.saturating_add(row.node_step);
        check(node as usize, self.session.stacks.len(), "symbols of an unknown stack")?;
        if row.node_step == 0 {
            return Err(Damage::Senseless("symbols of one stack twice"));
        }
        let frames = self.lists.get(row.frames as usize).ok_or(Damage::Senseless("frames that are not there"))?;
        self.session.stacks.node_mut(StackId(node)).frames = frames.clone();
        self.symbolised = node;
        Ok(())
    }
}
