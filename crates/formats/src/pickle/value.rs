//! What a pickle is made of.

use super::tensor::{Storage, Tensor, storage_dtype};
use safetensors::Dtype;
use std::rc::Rc;

/// What is on the stack. Containers are kept aside, so that they can be shared and changed as in
/// Python.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Where the values of a list or tuple start.
    Mark,
    /// What no tensor is made of: None, numbers with a fraction, bytes.
    Other,
    Number(i64),
    Text(Rc<str>),
    Global(Global),
    /// A name that no tensor is made with. It stands for itself and is never called.
    Name(Rc<str>),
    Container(usize),
    Storage(Rc<Storage>),
    Tensor(Rc<Tensor>),
}

/// A name that tensors are made with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    /// A dictionary, whatever it is made from besides its entries.
    Dictionary,
    /// A tensor of one of the types that are made from others: the function, the type, arguments.
    RebuildFromType,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

#[derive(Debug)]
pub(super) enum Container {
    Sequence(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

impl Global {
    /// What a name stands for, if tensors are made with it.
    pub(super) fn named(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict" | "defaultdict") => Self::Dictionary,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Self::RebuildParameter
            }
            ("torch._tensor", "_rebuild_from_type_v2") => Self::RebuildFromType,
            ("torch", name) => Self::Storage(storage_dtype(name)?),
            _ => return None,
        })
    }
}

/// Modules whose functions could run anything. A file that calls one is not what it should be, and
/// is refused; calls of other names make values that nobody looks at.
const DANGEROUS: [&str; 22] = [
    "builtins",
    "__builtin__",
    "bdb",
    "code",
    "commands",
    "ctypes",
    "importlib",
    "imp",
    "multiprocessing",
    "nt",
    "os",
    "pickle",
    "posix",
    "pty",
    "pydoc",
    "runpy",
    "shutil",
    "socket",
    "subprocess",
    "sys",
    "timeit",
    "webbrowser",
];

/// What is harmless of Python's own names.
const HARMLESS: [&str; 10] = [
    "bool",
    "bytearray",
    "complex",
    "dict",
    "frozenset",
    "list",
    "object",
    "range",
    "set",
    "slice",
];

/// Refuses the call of a name that could run anything.
pub(super) fn check_call(name: &str) -> Result<(), String> {
    let (module, function) = name.split_once('.').unwrap_or((name, ""));
    let builtin = module == "builtins" || module == "__builtin__";
    match DANGEROUS.contains(&module) && !(builtin && HARMLESS.contains(&function)) {
        true => Err(format!(
            "it asks for `{name}`, which no tensor needs and which could run anything; nothing of it was run. Where you trust the file, save its weights as safetensors with the program that made it"
        )),
        false => Ok(()),
    }
}
