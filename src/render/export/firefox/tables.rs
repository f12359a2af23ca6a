//! The tables of a thread: texts, functions, frames and stacks, each thing once.

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde_json::{Value, json};

use super::CODE;
use crate::model::{ModuleId, Session, StackId};
use crate::render::export::{lines_of, outermost_first};
use crate::render::style::printable;

/// `resourceTable.type` of a library.
const LIBRARY: u32 = 1;
/// In place of what is none.
const NONE: i64 = -1;

/// Files with code, of all threads together.
#[derive(Default)]
pub struct Libs {
    pub all: Vec<Value>,
    known: FxHashMap<ModuleId, usize>,
}

impl Libs {
    fn of(&mut self, session: &Session, id: ModuleId) -> usize {
        *self.known.entry(id).or_insert_with(|| {
            let module = &session.stacks.modules[id.index()];
            let (name, path) = (printable(module.name()), printable(&module.path));
            let build_id: String = module.build_id.iter().map(|byte| format!("{byte:02x}")).collect();
            self.all.push(json!({
                "name": name, "path": path, "debugName": name, "debugPath": path, "breakpadId": build_id,
                "codeId": (!build_id.is_empty()).then_some(&build_id), "arch": null,
            }));
            self.all.len() - 1
        })
    }
}

/// See the module.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tables {
    string_array: Vec<String>,
    func_table: Funcs,
    frame_table: Frames,
    stack_table: StackList,
    resource_table: Resources,
    native_symbols: NativeSymbols,
    #[serde(skip)]
    known: Known,
}

#[derive(Default)]
struct Known {
    texts: FxHashMap<String, usize>,
    funcs: FxHashMap<Func, usize>,
    frames: FxHashMap<Place, usize>,
    stacks: FxHashMap<(Option<usize>, usize), usize>,
    resources: FxHashMap<usize, usize>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Func {
    name: usize,
    file: Option<usize>,
    resource: Option<usize>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Place {
    func: usize,
    line: Option<u32>,
    address: i64,
    depth: u32,
    category: usize,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Funcs {
    length: usize,
    name: Vec<usize>,
    #[serde(rename = "isJS")]
    is_js: Vec<bool>,
    #[serde(rename = "relevantForJS")]
    relevant_for_js: Vec<bool>,
    resource: Vec<i64>,
    file_name: Vec<Option<usize>>,
    line_number: Vec<Option<u32>>,
    column_number: Vec<Option<u32>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Frames {
    length: usize,
    address: Vec<i64>,
    inline_depth: Vec<u32>,
    category: Vec<usize>,
    subcategory: Vec<u32>,
    func: Vec<usize>,
    native_symbol: Vec<Option<usize>>,
    #[serde(rename = "innerWindowID")]
    inner_window: Vec<u32>,
    line: Vec<Option<u32>>,
    column: Vec<Option<u32>>,
}

#[derive(Default, Serialize)]
struct StackList {
    length: usize,
    prefix: Vec<Option<usize>>,
    frame: Vec<usize>,
}

#[derive(Default, Serialize)]
struct Resources {
    length: usize,
    lib: Vec<usize>,
    name: Vec<usize>,
    host: Vec<Option<usize>>,
    #[serde(rename = "type")]
    kind: Vec<u32>,
}

/// Frames have their functions: none is needed.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct NativeSymbols {
    length: usize,
    address: [u32; 0],
    function_size: [u32; 0],
    lib_index: [u32; 0],
    name: [u32; 0],
}

impl Tables {
    /// A text's position.
    pub fn text(&mut self, text: &str) -> usize {
        if let Some(known) = self.known.texts.get(text) {
            return *known;
        }
        self.string_array.push(text.to_owned());
        self.known.texts.insert(text.to_owned(), self.string_array.len() - 1);
        self.string_array.len() - 1
    }

    /// A frame that is only a name, called by a stack.
    pub fn named(&mut self, prefix: Option<usize>, name: &str, category: usize) -> usize {
        let name = self.text(name);
        let func = self.func(Func { name, file: None, resource: None });
        let frame = self.frame(Place { func, line: None, address: NONE, depth: 0, category });
        self.node(prefix, frame)
    }

    /// A stack of the recording, called by another.
    pub fn stack(&mut self, session: &Session, libs: &mut Libs, prefix: Option<usize>, stack: StackId) -> usize {
        let mut at = prefix;
        for node in outermost_first(session, stack) {
            let resource = node.address.module.map(|module| self.resource(session, libs, module));
            let lines: Vec<_> = lines_of(session, node).collect();
            for (depth, (name, file, line)) in lines.into_iter().rev().enumerate() {
                let name = self.text(&name);
                let file = (!file.is_empty()).then(|| self.text(&file));
                let func = self.func(Func { name, file, resource });
                let place = Place {
                    func,
                    line: (line > 0).then_some(line),
                    // Inside the call instruction, as everywhere.
                    address: resource.map_or(NONE, |_| node.address.address.saturating_sub(1) as i64),
                    depth: depth as u32,
                    category: CODE,
                };
                let frame = self.frame(place);
                at = Some(self.node(at, frame));
            }
        }
        at.unwrap_or_default()
    }

    fn resource(&mut self, session: &Session, libs: &mut Libs, module: ModuleId) -> usize {
        let lib = libs.of(session, module);
        if let Some(known) = self.known.resources.get(&lib) {
            return *known;
        }
        let name = self.text(&printable(session.stacks.modules[module.index()].name()));
        let list = &mut self.resource_table;
        list.length += 1;
        list.lib.push(lib);
        list.name.push(name);
        list.host.push(None);
        list.kind.push(LIBRARY);
        self.known.resources.insert(lib, list.length - 1);
        list.length - 1
    }

    fn func(&mut self, func: Func) -> usize {
        let list = &mut self.func_table;
        *self.known.funcs.entry(func).or_insert_with_key(|func| {
            list.length += 1;
            list.name.push(func.name);
            list.is_js.push(false);
            list.relevant_for_js.push(false);
            list.resource.push(func.resource.map_or(NONE, |at| at as i64));
            list.file_name.push(func.file);
            list.line_number.push(None);
            list.column_number.push(None);
            list.length - 1
        })
    }

    fn frame(&mut self, place: Place) -> usize {
        let list = &mut self.frame_table;
        *self.known.frames.entry(place).or_insert_with_key(|place| {
            list.length += 1;
            list.address.push(place.address);
            list.inline_depth.push(place.depth);
            list.category.push(place.category);
            list.subcategory.push(0);
            list.func.push(place.func);
            list.native_symbol.push(None);
            list.inner_window.push(0);
            list.line.push(place.line);
            list.column.push(None);
            list.length - 1
        })
    }

    fn node(&mut self, prefix: Option<usize>, frame: usize) -> usize {
        let list = &mut self.stack_table;
        *self.known.stacks.entry((prefix, frame)).or_insert_with(|| {
            list.length += 1;
            list.prefix.push(prefix);
            list.frame.push(frame);
            list.length - 1
        })
    }
}
