//! What a pickle calls, and takes from outside: only what makes tensors does anything.

use super::machine::{Done, EMPTY, Machine};
use super::tensor::{Storage, Tensor};
use super::value::{Container, Global, Value, check_call};
use std::rc::Rc;

/// PyTorch's own limit.
const MOST_DIMENSIONS: usize = 64;

impl Machine<'_> {
    pub(super) fn call(&mut self, called: Value, arguments: &Value) -> Done {
        let Some(Container::Sequence(arguments)) = self.container(arguments) else {
            return Err("it calls with what are no arguments".into());
        };
        let made = match (&called, &arguments[..]) {
            // Entries may be given as a list of pairs; a factory of defaults is none of them.
            (Value::Global(Global::Dictionary), given) => {
                let pairs = given.first().map_or(vec![], |pairs| self.pairs(pairs));
                self.put(Container::Map(pairs));
                return Ok(());
            }
            (Value::Name(name), _) => {
                check_call(name)?;
                Value::Other
            }
            (Value::Other, _) => Value::Other,
            (
                Value::Global(Global::RebuildFromType),
                [called @ Value::Global(_), _, arguments, ..],
            ) => {
                let (called, arguments) = (called.clone(), arguments.clone());
                return self.call(called, &arguments);
            }
            (
                Value::Global(Global::RebuildTensor),
                [
                    Value::Storage(storage),
                    Value::Number(offset),
                    shape,
                    strides,
                    ..,
                ],
            ) => Value::Tensor(Rc::new(Tensor {
                storage: Storage::clone(storage),
                offset: size(*offset)?,
                shape: self.sizes(shape)?,
                strides: self.sizes(strides)?,
            })),
            (Value::Global(Global::RebuildParameter), [Value::Tensor(tensor), ..]) => {
                Value::Tensor(tensor.clone())
            }
            _ => return Err("it calls something that makes no tensor of its arguments".into()),
        };
        self.stack.push(made);
        Ok(())
    }

    /// The pairs in a list of them.
    fn pairs(&self, value: &Value) -> Vec<(Value, Value)> {
        let Some(Container::Sequence(values)) = self.container(value) else {
            return vec![];
        };
        let pairs = values.iter().filter_map(|pair| match self.container(pair) {
            Some(Container::Sequence(pair)) => match &pair[..] {
                [key, value] => Some((key.clone(), value.clone())),
                _ => None,
            },
            _ => None,
        });
        pairs.collect()
    }

    fn sizes(&self, value: &Value) -> Done<Vec<usize>> {
        let Some(Container::Sequence(values)) = self.container(value) else {
            return Err("a tensor has no shape".into());
        };
        // Copied for every tensor, so a long one in a few thousand tensors would fill memory.
        if values.len() > MOST_DIMENSIONS {
            return Err(format!("a tensor has {} dimensions", values.len()));
        }
        let sizes = values.iter().map(|value| match value {
            Value::Number(number) => size(*number),
            _ => Err("a tensor has a shape of other things than numbers".into()),
        });
        sizes.collect()
    }

    /// Attributes, such as the version of each layer of a dictionary, are omitted.
    pub(super) fn build(&mut self) -> Done {
        self.pop()?;
        match self.stack.last() {
            Some(Value::Mark) | None => Err(EMPTY.into()),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn persistent(&mut self) -> Done {
        let described = self.pop()?;
        let Some(Container::Sequence(values)) = self.container(&described) else {
            return Err("it takes something from outside that is no storage".into());
        };
        let [
            Value::Text(kind),
            Value::Global(Global::Storage(dtype)),
            Value::Text(key),
            _,
            Value::Number(length),
            view @ ..,
        ] = &values[..]
        else {
            return Err("it takes something from outside that is no storage".into());
        };
        if matches!(view, [Value::Container(_)]) {
            return Err(
                "a storage in it is a part of another: save it again with a PyTorch of today"
                    .into(),
            );
        }
        if kind.as_ref() != "storage" {
            return Err(format!(
                "it takes a `{kind}` from outside, and only a storage can be"
            ));
        }
        let storage = Storage {
            dtype: *dtype,
            key: key.clone(),
            length: size(*length)?,
        };
        let storage = Rc::new(storage);
        self.storages.push(storage.clone());
        self.stack.push(Value::Storage(storage));
        Ok(())
    }
}

fn size(number: i64) -> Done<usize> {
    usize::try_from(number).map_err(|_| format!("{number} is no size"))
}
