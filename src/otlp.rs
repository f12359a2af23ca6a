//! OTLP's profiles signal: the messages of its protobuf, `opentelemetry.proto.profiles.v1development`.
//!
//! Only what lockprof writes is declared. Numbers and names of the fields are those of `profiles.proto`, `common.proto` and
//! `resource.proto` of OTLP 1.10. What a profile means for locks is the business of whoever makes one (`render`).

use prost::{Message, Oneof};

/// A file: profiles, and the tables that they share.
#[derive(Clone, PartialEq, Message)]
pub struct ProfilesData {
    /// By what was profiled; the first one's first profile is shown first.
    #[prost(message, repeated, tag = "1")]
    pub resource_profiles: Vec<ResourceProfiles>,
    /// The tables. The first entry of each is empty: position 0 is none.
    #[prost(message, optional, tag = "2")]
    pub dictionary: Option<ProfilesDictionary>,
}

/// See [`ProfilesData`].
#[derive(Clone, PartialEq, Message)]
pub struct ProfilesDictionary {
    /// Files with code.
    #[prost(message, repeated, tag = "1")]
    pub mapping_table: Vec<Mapping>,
    /// Addresses.
    #[prost(message, repeated, tag = "2")]
    pub location_table: Vec<Location>,
    /// Functions.
    #[prost(message, repeated, tag = "3")]
    pub function_table: Vec<Function>,
    /// Spans; only the empty one.
    #[prost(message, repeated, tag = "4")]
    pub link_table: Vec<Link>,
    /// All texts.
    #[prost(string, repeated, tag = "5")]
    pub string_table: Vec<String>,
    /// What is known of samples, mappings and locations.
    #[prost(message, repeated, tag = "6")]
    pub attribute_table: Vec<KeyValueAndUnit>,
    /// Call stacks.
    #[prost(message, repeated, tag = "7")]
    pub stack_table: Vec<Stack>,
}

/// Profiles of one program.
#[derive(Clone, PartialEq, Message)]
pub struct ResourceProfiles {
    /// The program.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// Its profiles, by who made them.
    #[prost(message, repeated, tag = "2")]
    pub scope_profiles: Vec<ScopeProfiles>,
}

/// What was profiled.
#[derive(Clone, PartialEq, Message)]
pub struct Resource {
    /// By the names of OpenTelemetry's semantic conventions.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

/// Profiles that one tool made.
#[derive(Clone, PartialEq, Message)]
pub struct ScopeProfiles {
    /// The tool.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<InstrumentationScope>,
    /// One for each kind of value.
    #[prost(message, repeated, tag = "2")]
    pub profiles: Vec<Profile>,
}

/// A tool.
#[derive(Clone, PartialEq, Message)]
pub struct InstrumentationScope {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// What else is known.
    #[prost(message, repeated, tag = "3")]
    pub attributes: Vec<KeyValue>,
}

/// Values of one kind by stack.
#[derive(Clone, PartialEq, Message)]
pub struct Profile {
    /// What the values are.
    #[prost(message, optional, tag = "1")]
    pub sample_type: Option<ValueType>,
    /// The values.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// The start, ns since 1970.
    #[prost(fixed64, tag = "3")]
    pub time_unix_nano: u64,
    /// The duration, ns.
    #[prost(uint64, tag = "4")]
    pub duration_nano: u64,
    /// What is sampled.
    #[prost(message, optional, tag = "5")]
    pub period_type: Option<ValueType>,
    /// One of so many is sampled.
    #[prost(int64, tag = "6")]
    pub period: i64,
    /// Sixteen bytes by which the same profile is known again.
    #[prost(bytes = "vec", tag = "7")]
    pub profile_id: Vec<u8>,
    /// In the table of attributes.
    #[prost(int32, repeated, tag = "11")]
    pub attribute_indices: Vec<i32>,
}

/// `delay` in `nanoseconds`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ValueType {
    /// What.
    #[prost(int32, tag = "1")]
    pub type_strindex: i32,
    /// Its unit.
    #[prost(int32, tag = "2")]
    pub unit_strindex: i32,
}

/// The value of one stack.
#[derive(Clone, PartialEq, Message)]
pub struct Sample {
    /// In the table of stacks.
    #[prost(int32, tag = "1")]
    pub stack_index: i32,
    /// In the table of attributes.
    #[prost(int32, repeated, tag = "2")]
    pub attribute_indices: Vec<i32>,
    /// In the table of spans.
    #[prost(int32, tag = "3")]
    pub link_index: i32,
    /// One value: all together.
    #[prost(int64, repeated, tag = "4")]
    pub values: Vec<i64>,
}

/// A file with code.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Mapping {
    /// Where it is in memory.
    #[prost(uint64, tag = "1")]
    pub memory_start: u64,
    /// Where it ends.
    #[prost(uint64, tag = "2")]
    pub memory_limit: u64,
    /// What is at its start.
    #[prost(uint64, tag = "3")]
    pub file_offset: u64,
    /// Its path.
    #[prost(int32, tag = "4")]
    pub filename_strindex: i32,
    /// Its build-id.
    #[prost(int32, repeated, tag = "5")]
    pub attribute_indices: Vec<i32>,
}

/// Locations, innermost first.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Stack {
    /// In the table of locations.
    #[prost(int32, repeated, tag = "1")]
    pub location_indices: Vec<i32>,
}

/// An address.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Location {
    /// In the table of mappings.
    #[prost(int32, tag = "1")]
    pub mapping_index: i32,
    /// In the memory of the mappings.
    #[prost(uint64, tag = "2")]
    pub address: u64,
    /// The functions there, the innermost (inlined) one first.
    #[prost(message, repeated, tag = "3")]
    pub lines: Vec<Line>,
    /// The kind of frame.
    #[prost(int32, repeated, tag = "4")]
    pub attribute_indices: Vec<i32>,
}

/// A line of a function.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Line {
    /// In the table of functions.
    #[prost(int32, tag = "1")]
    pub function_index: i32,
    /// From 1; 0 where unknown.
    #[prost(int64, tag = "2")]
    pub line: i64,
}

/// A function.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Function {
    /// Its name for people.
    #[prost(int32, tag = "1")]
    pub name_strindex: i32,
    /// Its name for linkers.
    #[prost(int32, tag = "2")]
    pub system_name_strindex: i32,
    /// Its source file.
    #[prost(int32, tag = "3")]
    pub filename_strindex: i32,
}

/// A span of a trace.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Link {
    /// The trace.
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    /// The span.
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
}

/// An attribute of the table.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValueAndUnit {
    /// Its name.
    #[prost(int32, tag = "1")]
    pub key_strindex: i32,
    /// Its value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
    /// Its unit.
    #[prost(int32, tag = "3")]
    pub unit_strindex: i32,
}

/// An attribute.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// A text or a number.
#[derive(Clone, PartialEq, Message)]
pub struct AnyValue {
    /// Which.
    #[prost(oneof = "Value", tags = "1, 3")]
    pub value: Option<Value>,
}

/// See [`AnyValue`].
#[derive(Clone, PartialEq, Eq, Hash, Oneof)]
pub enum Value {
    /// A text.
    #[prost(string, tag = "1")]
    Text(String),
    /// A number.
    #[prost(int64, tag = "3")]
    Number(i64),
}

impl Profile {
    /// Its own bytes, without the tables.
    pub fn bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }
}

impl Value {
    /// As messages have it.
    pub fn any(self) -> Option<AnyValue> {
        Some(AnyValue { value: Some(self) })
    }
}

/// The file's bytes, not packed.
pub fn encode(data: &ProfilesData) -> Vec<u8> {
    data.encode_to_vec()
}

/// Reads such a file.
///
/// # Errors
/// Where the bytes are none.
pub fn decode(bytes: &[u8]) -> Result<ProfilesData, prost::DecodeError> {
    ProfilesData::decode(bytes)
}
