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
    Container(usize),
    Storage(Rc<Storage>),
    Tensor(Rc<Tensor>),
}

/// A name that tensors are made with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    OrderedDict,
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
    /// What a name stands for. Whatever else a pickle names could be a function to be called.
    pub(super) fn named(module: &str, name: &str) -> Result<Self, String> {
        match (module, name) {
            ("collections", "OrderedDict") => Ok(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Ok(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Ok(Self::RebuildParameter),
            _ => {
                let storage = storage_dtype(name).filter(|_| module == "torch");
                storage.map(Self::Storage).ok_or_else(|| {
                format!(
                    "it asks for `{module}.{name}`, which no tensor needs and which could run anything; nothing of it was run. Where you trust the file, save its weights as safetensors with the program that made it"
                )
            })
            }
        }
    }
}
