//! Reads the pickled dictionary of a `.pt` as data.
//!
//! A pickle is a program for a small stack machine, and its instructions can call anything. This machine knows the
//! instructions of protocol 2 that such a file needs, and of callables only those in [`Global`], which make data; every
//! other name is an error that says it. Memory and steps are bounded by the size of the pickle. Objects refer to each
//! other by place, so a pickle that contains itself is harmless: nothing here follows references by itself.

use super::{CONFIG_CLASS, DTYPES, TARGET_CLASS};
use crate::bytes::Dtype;
use crate::error::Problem;
use std::collections::HashMap;

/// Far more than a graph with every token as target needs.
pub(super) const MAX_PICKLE_BYTES: u64 = 64 << 20;
const MAX_STEPS: usize = 4_000_000;
/// Real keys are numbers. Each use of a storage copies its key, so a long one would multiply.
const MAX_KEY_BYTES: usize = 64;

/// The place of an object.
pub(super) type Handle = usize;

#[derive(Clone, Debug)]
pub(super) enum Object {
    None,
    /// True or false; no graph depends on which.
    Bool,
    Int(i64),
    Text(String),
    Tuple(Vec<Handle>),
    List(Vec<Handle>),
    Dict(Vec<(Handle, Handle)>),
    Global(Global),
    Storage(Box<Storage>),
    Tensor(Box<Tensor>),
    /// An instance of [`CONFIG_CLASS`]; its fields, once they are set.
    Config(Option<Handle>),
    /// An instance of [`TARGET_CLASS`]: label and id.
    Target(Handle, Handle),
}

/// Everything that a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    StorageType(Dtype),
    /// A type of `torch`, which is only recorded.
    Dtype(&'static str),
    Config,
    Target,
}

/// The numbers of one or several tensors, in an entry of the zip.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    pub(super) dtype: Dtype,
    pub(super) key: String,
    pub(super) len: u64,
}

/// A view of a storage.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub(super) storage: Storage,
    pub(super) offset: u64,
    pub(super) shape: Vec<u64>,
    pub(super) strides: Vec<u64>,
}

/// All objects of a pickle.
pub(super) struct Objects {
    objects: Vec<Object>,
    pub(super) root: Handle,
}

impl Objects {
    /// Interprets a pickle.
    pub(super) fn read(pickle: &[u8]) -> Result<Self, Problem> {
        let mut machine = Machine { input: pickle, ..Machine::default() };
        for _ in 0..MAX_STEPS {
            if let Some(root) = machine.step()? {
                return Ok(Self { objects: machine.objects, root });
            }
        }
        Err(Problem::new("pickle", format_args!("at most {MAX_STEPS} instructions"), "more"))
    }

    pub(super) fn get(&self, handle: Handle) -> &Object {
        // Handles are only made by pushing, and nothing is ever removed.
        &self.objects[handle]
    }

    /// The value of a dictionary under a text; of two, the last, as in Python.
    pub(super) fn entry(&self, entries: &[(Handle, Handle)], key: &str) -> Option<&Object> {
        let found =
            entries.iter().rev().find(|(k, _)| matches!(self.get(*k), Object::Text(text) if text == key));
        found.map(|(_, value)| self.get(*value))
    }
}

#[derive(Default)]
struct Machine<'a> {
    input: &'a [u8],
    objects: Vec<Object>,
    stack: Vec<Handle>,
    /// Heights of the stack at open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Handle>,
}

impl Machine<'_> {
    /// One instruction; the result at the last.
    fn step(&mut self) -> Result<Option<Handle>, Problem> {
        match self.bytes::<1>()?[0] {
            0x80 => {
                let [protocol] = self.bytes()?;
                if protocol != 2 {
                    return Err(Problem::new(
                        "pickle",
                        "protocol 2, as torch.save writes by default",
                        protocol,
                    ));
                }
            }
            b'N' => self.push(Object::None),
            0x88 | 0x89 => self.push(Object::Bool),
            b'K' => {
                let [value] = self.bytes()?;
                self.push(Object::Int(value.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.bytes()?);
                self.push(Object::Int(value.into()));
            }
            b'J' => {
                let value = i32::from_le_bytes(self.bytes()?);
                self.push(Object::Int(value.into()));
            }
            0x8a => self.long()?,
            b'X' => {
                let len = u32::from_le_bytes(self.bytes()?) as usize;
                let text = std::str::from_utf8(self.take(len)?);
                let text = text.map_err(|e| Problem::new("text in the pickle", "UTF-8", e))?.to_owned();
                self.push(Object::Text(text));
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let global = known(&module, &name)?;
                self.push(Object::Global(global));
            }
            b'(' => self.marks.push(self.stack.len()),
            b')' => self.push(Object::Tuple(Vec::new())),
            b']' => self.push(Object::List(Vec::new())),
            b'}' => self.push(Object::Dict(Vec::new())),
            b't' => {
                let items = self.since_mark()?;
                self.push(Object::Tuple(items));
            }
            op @ 0x85..=0x87 => {
                let mut items = vec![0; usize::from(op - 0x84)];
                for item in items.iter_mut().rev() {
                    *item = self.pop()?;
                }
                self.push(Object::Tuple(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.append(items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set(&items)?;
            }
            b'q' => {
                let [place] = self.bytes()?;
                self.remember(place.into())?;
            }
            b'r' => {
                let place = u32::from_le_bytes(self.bytes()?);
                self.remember(place)?;
            }
            b'h' => {
                let [place] = self.bytes()?;
                self.recall(place.into())?;
            }
            b'j' => {
                let place = u32::from_le_bytes(self.bytes()?);
                self.recall(place)?;
            }
            b'Q' => self.storage()?,
            b'R' => self.call()?,
            0x81 => self.construct()?,
            b'b' => self.build()?,
            b'.' => return self.pop().map(Some),
            other => {
                let found = format_args!("instruction {other:#04x}");
                return Err(Problem::new("pickle", "only instructions that hold data", found));
            }
        }
        Ok(None)
    }

    fn take(&mut self, n: usize) -> Result<&[u8], Problem> {
        match self.input.split_at_checked(n) {
            Some((taken, rest)) => {
                self.input = rest;
                Ok(taken)
            }
            None => Err(Problem::new(
                "pickle",
                format_args!("{n} more bytes"),
                format_args!("{}", self.input.len()),
            )),
        }
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn line(&mut self) -> Result<String, Problem> {
        let end = self.input.iter().take(256).position(|&b| b == b'\n');
        let end =
            end.ok_or_else(|| Problem::new("name in the pickle", "a line of less than 256 bytes", "none"))?;
        let line = String::from_utf8_lossy(&self.take(end + 1)?[..end]).into_owned();
        Ok(line)
    }

    /// An integer of up to eight bytes, or nine where the ninth only holds the sign.
    fn long(&mut self) -> Result<(), Problem> {
        let [len] = self.bytes()?;
        let bytes = self.take(len.into())?;
        let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 16];
        let value = match wide.get_mut(..bytes.len()) {
            Some(low) => {
                low.copy_from_slice(bytes);
                i64::try_from(i128::from_le_bytes(wide)).ok()
            }
            None => None,
        };
        let value = value.ok_or_else(|| {
            Problem::new("pickle", "integers of 64 bits", format_args!("one of {len} bytes"))
        })?;
        self.push(Object::Int(value));
        Ok(())
    }

    fn push(&mut self, object: Object) {
        self.stack.push(self.objects.len());
        self.objects.push(object);
    }

    /// The top object, but never one below an open mark.
    fn pop(&mut self) -> Result<Handle, Problem> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() > floor
            && let Some(top) = self.stack.pop()
        {
            return Ok(top);
        }
        Err(Problem::new("pickle", "an object on the stack", "none"))
    }

    fn since_mark(&mut self) -> Result<Vec<Handle>, Problem> {
        let mark = self.marks.pop().ok_or_else(|| Problem::new("pickle", "an open mark", "none"))?;
        Ok(self.stack.split_off(mark))
    }

    /// The object on top, which stays there.
    fn top(&mut self) -> Result<&mut Object, Problem> {
        let top = self.pop()?;
        self.stack.push(top);
        Ok(&mut self.objects[top])
    }

    fn append(&mut self, items: Vec<Handle>) -> Result<(), Problem> {
        match self.top()? {
            Object::List(list) => list.extend(items),
            other => return Err(Problem::new("pickle", "a list to append to", other.kind())),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Handle]) -> Result<(), Problem> {
        if !items.len().is_multiple_of(2) {
            return Err(Problem::new("pickle", "keys with values", "a key without"));
        }
        match self.top()? {
            Object::Dict(entries) => entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1]))),
            other => return Err(Problem::new("pickle", "a dictionary to fill", other.kind())),
        }
        Ok(())
    }

    fn remember(&mut self, place: u32) -> Result<(), Problem> {
        let top = self.pop()?;
        self.stack.push(top);
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Result<(), Problem> {
        let found = self.memo.get(&place).copied();
        let object = found
            .ok_or_else(|| Problem::new("pickle", format_args!("a remembered object {place}"), "none"))?;
        self.stack.push(object);
        Ok(())
    }

    /// The tuple on top.
    fn tuple(&mut self, what: &str) -> Result<Vec<Handle>, Problem> {
        let top = self.pop()?;
        match &self.objects[top] {
            Object::Tuple(items) => Ok(items.clone()),
            other => Err(Problem::new(what, "a tuple", other.kind())),
        }
    }

    /// Persistent ids: `("storage", type, key, device, number of values)`.
    fn storage(&mut self) -> Result<(), Problem> {
        let items = self.tuple("persistent id")?;
        let objects: Vec<_> = items.iter().take(6).map(|&h| &self.objects[h]).collect();
        let storage = match *objects {
            [
                Object::Text(word),
                &Object::Global(Global::StorageType(dtype)),
                Object::Text(key),
                Object::Text(_),
                &Object::Int(len),
            ] if word == "storage" && key.len() <= MAX_KEY_BYTES => {
                u64::try_from(len).ok().map(|len| Storage { dtype, key: key.clone(), len })
            }
            _ => None,
        };
        let storage =
            storage.ok_or_else(|| Problem::new("persistent id", "a storage of numbers", kinds(&objects)))?;
        self.push(Object::Storage(Box::new(storage)));
        Ok(())
    }

    fn call(&mut self) -> Result<(), Problem> {
        let arguments = self.tuple("arguments of a call")?;
        let callable = self.pop()?;
        match (&self.objects[callable], &*arguments) {
            (Object::Global(Global::OrderedDict), []) => self.push(Object::Dict(Vec::new())),
            (Object::Global(Global::RebuildTensor), _) => {
                let tensor = self.tensor(&arguments)?;
                self.push(Object::Tensor(Box::new(tensor)));
            }
            (other, _) => {
                let expected = "a call of _rebuild_tensor_v2 or OrderedDict()";
                return Err(Problem::new("pickle", expected, format_args!("a call of {}", other.kind())));
            }
        }
        Ok(())
    }

    /// `(storage, offset, shape, strides, requires_grad, hooks)`, and in newer releases metadata, which must be nothing.
    fn tensor(&self, arguments: &[Handle]) -> Result<Tensor, Problem> {
        let objects: Vec<_> = arguments.iter().take(8).map(|&h| &self.objects[h]).collect();
        let numbers = |items: &[Handle]| {
            let number = |&h: &Handle| match self.objects[h] {
                Object::Int(value) => u64::try_from(value).ok(),
                _ => None,
            };
            items.iter().take(5).map(number).collect::<Option<Vec<u64>>>()
        };
        let tensor = match &*objects {
            [
                Object::Storage(storage),
                Object::Int(offset),
                Object::Tuple(shape),
                Object::Tuple(strides),
                Object::Bool,
                Object::Dict(_),
                rest @ ..,
            ] if matches!(rest, [] | [Object::None]) && shape.len() == strides.len() && shape.len() <= 4 => {
                let parts = (u64::try_from(*offset), numbers(shape), numbers(strides));
                match parts {
                    (Ok(offset), Some(shape), Some(strides)) => {
                        Some(Tensor { storage: Storage::clone(storage), offset, shape, strides })
                    }
                    _ => None,
                }
            }
            _ => None,
        };
        tensor.ok_or_else(|| {
            Problem::new("tensor in the pickle", "storage, offset, shape and strides", kinds(&objects))
        })
    }

    fn construct(&mut self) -> Result<(), Problem> {
        let arguments = self.tuple("arguments of a class")?;
        let class = self.pop()?;
        match (&self.objects[class], &*arguments) {
            (Object::Global(Global::Config), []) => self.push(Object::Config(None)),
            (Object::Global(Global::Target), &[label, id]) => self.push(Object::Target(label, id)),
            (other, arguments) => {
                let found = format_args!("{} with {} arguments", other.kind(), arguments.len());
                return Err(Problem::new("pickle", "UnifiedConfig() or LogitTarget(label, id)", found));
            }
        }
        Ok(())
    }

    fn build(&mut self) -> Result<(), Problem> {
        let state = self.pop()?;
        match self.top()? {
            Object::Config(fields) => *fields = Some(state),
            other => return Err(Problem::new("pickle", "a UnifiedConfig to fill", other.kind())),
        }
        Ok(())
    }
}

impl Object {
    /// For messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Bool => "a truth value",
            Self::Int(_) => "an integer",
            Self::Text(_) => "a text",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dictionary",
            Self::Global(Global::OrderedDict) => "the class OrderedDict",
            Self::Global(Global::RebuildTensor) => "the function _rebuild_tensor_v2",
            Self::Global(Global::StorageType(_)) => "a storage type",
            Self::Global(Global::Dtype(_)) => "a tensor type",
            Self::Global(Global::Config) => "the class UnifiedConfig",
            Self::Global(Global::Target) => "the class LogitTarget",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
            Self::Config(_) => "a UnifiedConfig",
            Self::Target(..) => "a LogitTarget",
        }
    }
}

fn kinds(objects: &[&Object]) -> String {
    objects.iter().map(|o| o.kind()).collect::<Vec<_>>().join(", ")
}

/// The only names that a pickle may hold. All of them make data; none is looked up or run.
fn known(module: &str, name: &str) -> Result<Global, Problem> {
    let global = match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
        ("torch", "FloatStorage") => Global::StorageType(Dtype::F32),
        ("torch", "DoubleStorage") => Global::StorageType(Dtype::F64),
        ("torch", "HalfStorage") => Global::StorageType(Dtype::F16),
        ("torch", "BFloat16Storage") => Global::StorageType(Dtype::Bf16),
        ("torch", "LongStorage") => Global::StorageType(Dtype::I64),
        ("torch", "IntStorage") => Global::StorageType(Dtype::I32),
        ("torch", dtype) if DTYPES.contains(&dtype) => {
            Global::Dtype(DTYPES.iter().find(|known| **known == dtype).copied().unwrap_or_default())
        }
        names if names == CONFIG_CLASS => Global::Config,
        names if names == TARGET_CLASS => Global::Target,
        _ => {
            let expected = "only tensors, UnifiedConfig and LogitTarget (no code is run from a pickle)";
            return Err(Problem::new("pickle", expected, format_args!("the name `{module}.{name}`")));
        }
    };
    Ok(global)
}
