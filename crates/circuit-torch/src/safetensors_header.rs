//! The header of a safetensors file: which tensors there are, of which type and shape, and which bytes each of them has.
//!
//! One reader for mapped files and for files of which only the header is at hand, so that a file is accepted or refused
//! everywhere alike. The rules are those of the format: JSON in UTF-8, padded with spaces, at most 100 MB; the tensors lie one
//! behind the other and fill the rest of the file. Each refusal says which tensor or key is wrong, what was found, and what
//! was expected. Not here: values, and `.npz` files.

use crate::recognise::json_fault;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use std::collections::BTreeSet;
use std::fmt;
use tch::Kind;

/// The format's limit of a header, in bytes. It is refused before anything is allocated for it.
pub(crate) const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The key under which a file keeps notes about itself. No tensor can have this name.
const NOTES: &str = "__metadata__";

/// The types of the format: name, bits of a number, and the type here of those that can be read.
const DTYPES: &[(&str, u64, Option<Kind>)] = &[
    ("F64", 64, Some(Kind::Double)),
    ("F32", 32, Some(Kind::Float)),
    ("F16", 16, Some(Kind::Half)),
    ("BF16", 16, Some(Kind::BFloat16)),
    ("U8", 8, Some(Kind::Uint8)),
    ("BOOL", 8, None),
    ("I8", 8, None),
    ("I16", 16, None),
    ("I32", 32, None),
    ("I64", 64, None),
    ("U16", 16, None),
    ("U32", 32, None),
    ("U64", 64, None),
    ("C64", 64, None),
    ("F8_E4M3", 8, None),
    ("F8_E5M2", 8, None),
    ("F8_E8M0", 8, None),
    ("F6_E2M3", 6, None),
    ("F6_E3M2", 6, None),
    ("F4", 4, None),
];

/// A tensor of a safetensors file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    /// The type, as the file names it.
    pub(crate) dtype: &'static str,
    /// The type here, `None` if no tensor here can have it.
    pub(crate) kind: Option<Kind>,
    pub(crate) shape: Vec<i64>,
    /// The first byte, counted from the end of the header.
    pub(crate) start: u64,
    /// One past the last byte.
    pub(crate) end: u64,
}

/// The length of a header by the first eight bytes of a file of `len` bytes.
///
/// # Errors
/// If no file of this length can have such a header.
pub(crate) fn header_len(first: [u8; 8], len: u64) -> Result<u64, String> {
    let header = u64::from_le_bytes(first);
    if header > MAX_HEADER_BYTES {
        return Err(format!(
            "its header claims {header} bytes, above the format's limit of {MAX_HEADER_BYTES} (100 MB)"
        ));
    }
    if header > len - 8 {
        return Err(format!(
            "its header claims {header} bytes, but only {} follow in a file of {len}: it is cut off, or no safetensors file",
            len - 8
        ));
    }
    Ok(header)
}

/// The tensors that a header lists, in the order of their bytes. `data_len` bytes follow the header in the file.
///
/// # Errors
/// If the header is damaged, or its tensors are not exactly what follows.
pub(crate) fn read(header: &[u8], data_len: u64) -> Result<Vec<Listed>, String> {
    let padding = header.iter().rev().take_while(|&&byte| byte == 0).count();
    let text = std::str::from_utf8(&header[..header.len() - padding])
        .map_err(|e| format!("its header is not UTF-8: byte {} is not", e.valid_up_to()))?;
    if text.trim().is_empty() {
        return Err("its header is empty, expected a JSON object".into());
    }
    let mut reader = Reader::default();
    let mut json = serde_json::Deserializer::from_str(text);
    if let Err(error) = reader.deserialize(&mut json).and_then(|()| json.end()) {
        return Err(reader.fault.take().unwrap_or_else(|| reader.json_fault(&error)));
    }
    if padding > 0 {
        return Err(format!(
            "its header is padded with {padding} NUL byte(s) behind the JSON text, expected spaces; write the file again with a \
             current release of safetensors"
        ));
    }
    let mut tensors = reader.tensors;
    tensors.sort_by_key(|tensor| (tensor.start, tensor.end));
    check_bytes(&tensors, data_len)?;
    Ok(tensors)
}

/// The tensors must lie one behind the other, without holes, up to the end of the file.
fn check_bytes(tensors: &[Listed], data_len: u64) -> Result<(), String> {
    let mut end = 0;
    let mut before = "";
    for tensor in tensors {
        let (name, start) = (tensor.name.as_str(), tensor.start);
        if start > end {
            return Err(format!("bytes {end} to {start} belong to no tensor: `{name}` begins behind them"));
        }
        if start < end {
            return Err(format!(
                "tensor `{name}` begins at byte {start}, but tensor `{before}` ends at byte {end}: they overlap"
            ));
        }
        (end, before) = (tensor.end, name);
    }
    if end > data_len {
        return Err(format!(
            "it is cut off: its tensors have {end} bytes, but {data_len} follow its header; tensor `{before}` runs past the end"
        ));
    }
    if end < data_len {
        return Err(format!(
            "its tensors have {end} bytes, but {data_len} follow its header: the rest belongs to none"
        ));
    }
    Ok(())
}

/// Reads the object of a header, tensor by tensor, so that little is held beside the result.
#[derive(Default)]
struct Reader {
    tensors: Vec<Listed>,
    seen: BTreeSet<String>,
    /// The key that is being read.
    at: Option<String>,
    /// What is wrong with what a well-formed text says.
    fault: Option<String>,
}

impl Reader {
    fn json_fault(&self, error: &serde_json::Error) -> String {
        let at = self.at.as_ref().map_or_else(String::new, |name| format!(", at `{name}`"));
        format!("its header is no JSON object of tensors{at}: {}", json_fault(error))
    }

    fn take(&mut self, name: String, value: Raw) -> Result<(), String> {
        if !self.seen.insert(name.clone()) {
            return Err(match name == NOTES {
                true => format!("`{NOTES}` is there twice"),
                false => format!("tensor `{name}` is there twice"),
            });
        }
        if name == NOTES {
            return check_notes(&value);
        }
        self.tensors.push(tensor(name, &value)?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &mut Reader {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Reader {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            self.at = Some(name.clone());
            let value = map.next_value::<Raw>()?;
            if let Err(fault) = self.take(name, value) {
                self.fault = Some(fault);
                return Err(A::Error::custom("refused"));
            }
            self.at = None;
        }
        Ok(())
    }
}

/// A value of the header. An object keeps keys that come twice.
enum Raw {
    Object(Vec<(String, Value)>),
    Other(Value),
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(_) => f.write_str("an object"),
            Self::Other(value) => f.write_str(&short(value)),
        }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Other(Value::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
                Ok(Raw::Other(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
                Ok(Raw::Other(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
                Ok(Raw::Other(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
                Ok(Raw::Other(Number::from_f64(value).map_or(Value::Null, Value::Number)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
                Ok(Raw::Other(value.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element()? {
                    values.push(value);
                }
                Ok(Raw::Other(Value::Array(values)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Raw::Object(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// A value for a message: not more than a line of it.
fn short(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The notes of a file are texts by name.
fn check_notes(value: &Raw) -> Result<(), String> {
    let entries = match value {
        Raw::Other(Value::Null) => return Ok(()),
        Raw::Object(entries) => entries,
        Raw::Other(other) => {
            return Err(format!("`{NOTES}` is {}, expected an object of texts", short(other)));
        }
    };
    let has = |key: &str| entries.iter().any(|(name, _)| name == key);
    if has("dtype") && has("shape") && has("data_offsets") {
        return Err(format!(
            "it has a tensor named `{NOTES}`: the format keeps this name for notes about the file; give the tensor another name"
        ));
    }
    match entries.iter().find(|(_, value)| !value.is_string()) {
        Some((name, value)) => Err(format!("`{NOTES}`: `{name}` is {}, expected a text", short(value))),
        None => Ok(()),
    }
}

fn tensor(name: String, value: &Raw) -> Result<Listed, String> {
    let Raw::Object(entries) = value else {
        return Err(format!(
            "tensor `{name}` is {value}, expected an object with `dtype`, `shape` and `data_offsets`"
        ));
    };
    let key = |key: &str| -> Result<&Value, String> {
        let mut values = entries.iter().filter(|(name, _)| name == key).map(|(_, value)| value);
        let value = values.next().ok_or_else(|| format!("tensor `{name}` has no `{key}`"))?;
        match values.next() {
            None => Ok(value),
            Some(_) => Err(format!("tensor `{name}` has `{key}` twice")),
        }
    };
    let wrong = |key: &str, value: &Value, expected: &str| {
        format!("tensor `{name}`: `{key}` is {}, expected {expected}", short(value))
    };
    let numbers = |key: &str, value: &Value, expected: &str| -> Result<Vec<u64>, String> {
        let list = value.as_array().and_then(|list| list.iter().map(Value::as_u64).collect());
        list.ok_or_else(|| wrong(key, value, expected))
    };
    let dtype = key("dtype")?;
    let known = dtype.as_str().and_then(|name| DTYPES.iter().find(|(known, ..)| *known == name));
    let Some(&(dtype, bits, kind)) = known else {
        let names = DTYPES.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ");
        return Err(wrong("dtype", dtype, &format!("one of {names}")));
    };
    let offsets = key("data_offsets")?;
    let pair = "two whole numbers, begin and end";
    let &[start, end] = numbers("data_offsets", offsets, pair)?.as_slice() else {
        return Err(wrong("data_offsets", offsets, pair));
    };
    if start > end {
        return Err(wrong("data_offsets", offsets, "an end that is not before the begin"));
    }
    let found = key("shape")?;
    let sizes = numbers("shape", found, "a list of whole numbers")?;
    let absurd = || format!("tensor `{name}` has an absurd shape {}", short(found));
    let shape =
        sizes.iter().map(|&n| i64::try_from(n)).collect::<Result<Vec<_>, _>>().map_err(|_| absurd())?;
    let all_bits = sizes.iter().try_fold(bits, |bits, &n| bits.checked_mul(n)).ok_or_else(absurd)?;
    if all_bits % 8 != 0 || all_bits / 8 != end - start {
        let needed = all_bits.div_ceil(8);
        return Err(format!(
            "tensor `{name}` of type {dtype} and shape {shape:?} needs {needed} bytes, but its `data_offsets` [{start}, {end}] \
             have {}",
            end - start
        ));
    }
    Ok(Listed { name, dtype, kind, shape, start, end })
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    fn entry(name: &str, dtype: &str, shape: &str, offsets: &str) -> String {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
    }

    /// Reads a header that `data_len` bytes of data follow, and checks that the `safetensors` crate agrees on whether it is valid.
    #[track_caller]
    fn verdict(header: &[u8], data_len: usize) -> Result<Vec<Listed>, String> {
        let file = [&(header.len() as u64).to_le_bytes(), header, &vec![0; data_len]].concat();
        let ours = read(header, data_len as u64);
        let theirs = SafeTensors::read_metadata(&file);
        assert_eq!(ours.is_ok(), theirs.is_ok(), "{ours:?}, the library: {:?}", theirs.map(drop));
        ours
    }

    #[track_caller]
    fn refused(header: &str, data_len: usize, parts: &[&str]) {
        let message = verdict(header.as_bytes(), data_len).unwrap_err();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }

    #[test]
    fn well_formed_headers_are_read() {
        let (a, b) = (entry("a", "F32", "[2,3]", "[0,24]"), entry("b", "I64", "[]", "[24,32]"));
        let header = format!(r#"{{"__metadata__":{{"format":"pt"}},{b},{a}}}   "#);
        let tensors = verdict(header.as_bytes(), 32).unwrap();
        let names: Vec<_> = tensors.iter().map(|t| (t.name.as_str(), t.dtype, t.kind)).collect();
        assert_eq!(names, [("a", "F32", Some(Kind::Float)), ("b", "I64", None)]);
        assert_eq!(
            (tensors[0].shape.as_slice(), tensors[1].shape.as_slice()),
            ([2, 3].as_slice(), [].as_slice())
        );
        assert_eq!((tensors[1].start, tensors[1].end), (24, 32));
        assert!(verdict(b"{}", 0).unwrap().is_empty());
        assert!(verdict(br#"{"__metadata__":null}"#, 0).unwrap().is_empty());
        // Tensors without numbers, and a key that the format does not know.
        let empty = entry("e", "F32", "[0,7]", "[0,0]");
        assert_eq!(verdict(format!("{{{empty}}}").as_bytes(), 0).unwrap().len(), 1);
        let more = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"note":3}}"#;
        assert_eq!(verdict(more.as_bytes(), 1).unwrap().len(), 1);
        // Every type of the format, two numbers of four bits in a byte among them.
        for (dtype, bits, _) in DTYPES {
            let header = format!("{{{}}}", entry("a", dtype, "[8]", &format!("[0,{bits}]")));
            assert_eq!(verdict(header.as_bytes(), *bits as usize).unwrap()[0].dtype, *dtype);
        }
    }

    #[test]
    fn damaged_json_is_refused_with_its_place() {
        refused("", 0, &["header is empty"]);
        refused("[]", 0, &["no JSON object of tensors", "expected an object"]);
        refused("{", 0, &["no JSON object of tensors", "ends in the middle"]);
        refused("<html></html>", 0, &["no JSON object of tensors", "column 1"]);
        refused(r#"{"a":{"dtype":"F32""#, 0, &["at `a`", "ends in the middle"]);
        refused("{} x", 0, &["no JSON object", "follows"]);
        refused("{}\0\0\0", 0, &["padded with 3 NUL byte(s)", "spaces"]);
        let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
        refused(&deep, 0, &["at `x`", "nested"]);
        let message = verdict(b"{\"a\xff\":1}", 0).unwrap_err();
        assert!(message.contains("not UTF-8: byte 3"), "{message}");
    }

    #[test]
    fn wrong_entries_are_refused_by_name_and_key() {
        let one =
            |dtype: &str, shape: &str, offsets: &str| format!("{{{}}}", entry("a", dtype, shape, offsets));
        refused(r#"{"a":3}"#, 0, &["tensor `a` is 3", "expected an object with `dtype`"]);
        refused(r#"{"a":{"dtype":"F32","shape":[1]}}"#, 4, &["tensor `a` has no `data_offsets`"]);
        refused(
            r#"{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
            4,
            &["`dtype` twice"],
        );
        refused(&one("Q7", "[1]", "[0,4]"), 4, &["`a`", "`dtype` is \"Q7\"", "F32"]);
        refused(&one("F32", "[-1]", "[0,4]"), 4, &["`a`", "`shape` is [-1]", "whole numbers"]);
        refused(&one("F32", "[1.5]", "[0,4]"), 4, &["`shape` is [1.5]"]);
        refused(&one("F32", "\"x\"", "[0,4]"), 4, &["`shape` is \"x\""]);
        refused(&one("F32", "[18446744073709551615,2]", "[0,4]"), 4, &["`a`", "absurd shape"]);
        refused(&one("F32", "[4294967296,4294967296]", "[0,4]"), 4, &["`a`", "absurd shape"]);
        refused(&one("F32", "[1]", "[0]"), 4, &["`data_offsets` is [0]", "two whole numbers"]);
        refused(&one("F32", "[1]", "[4,0]"), 4, &["`data_offsets` is [4,0]"]);
        refused(&one("F32", "[2]", "[0,4]"), 4, &["`a`", "needs 8 bytes", "[0, 4] have 4"]);
        refused(&one("F4", "[3]", "[0,2]"), 2, &["`a`", "F4"]);
        refused(&one("F32", "[1]", "[0,4]"), 3, &["cut off", "4 bytes, but 3", "`a` runs past the end"]);
        refused(&one("F32", "[1]", "[0,4]"), 9, &["4 bytes, but 9", "belongs to none"]);
        refused(&one("F32", "[1]", "[4,8]"), 8, &["bytes 0 to 4 belong to no tensor", "`a`"]);
        let (a, b) = (entry("a", "F32", "[2]", "[0,8]"), entry("b", "F32", "[2]", "[4,12]"));
        refused(&format!("{{{a},{b}}}"), 12, &["`b` begins at byte 4", "`a` ends at byte 8", "overlap"]);
    }

    #[test]
    fn notes_are_texts() {
        refused(r#"{"__metadata__":[1]}"#, 0, &["`__metadata__` is [1]", "object of texts"]);
        refused(r#"{"__metadata__":{"step":3}}"#, 0, &["`step` is 3", "expected a text"]);
        let tensor = entry(NOTES, "I32", "[2]", "[0,8]");
        refused(&format!("{{{tensor}}}"), 8, &["a tensor named `__metadata__`", "another name"]);
    }

    #[test]
    fn a_name_that_comes_twice_is_refused() {
        // The library takes either of them.
        let a = entry("a", "F32", "[1]", "[0,4]");
        let message = read(format!("{{{a},{a}}}").as_bytes(), 4).unwrap_err();
        assert_eq!(message, "tensor `a` is there twice");
    }

    #[test]
    fn lengths_beyond_the_limit_or_the_file() {
        let long = header_len(132_095_296u64.to_le_bytes(), 132_096_328).unwrap_err();
        assert!(long.contains("132095296") && long.contains("limit of 100000000 (100 MB)"), "{long}");
        let short = header_len(93u64.to_le_bytes(), 100).unwrap_err();
        assert!(short.contains("93 bytes") && short.contains("only 92 follow"), "{short}");
        assert_eq!(header_len(92u64.to_le_bytes(), 100), Ok(92));
    }
}
