//! The machine that a pickle is a program for, with only the instructions for data.

use super::tensor::{Storage, Tensor};
use super::value::{Container, Global, Value};
use std::collections::HashMap;
use std::rc::Rc;

pub(super) struct Machine<'a> {
    program: &'a [u8],
    stack: Vec<Value>,
    memo: HashMap<usize, Value>,
    containers: Vec<Container>,
}

type Done<T = ()> = Result<T, String>;

impl<'a> Machine<'a> {
    pub(super) fn new(program: &'a [u8]) -> Self {
        Self {
            program,
            stack: vec![],
            memo: HashMap::new(),
            containers: vec![],
        }
    }

    /// What the program makes.
    pub(super) fn run(&mut self) -> Done<Value> {
        loop {
            let [instruction] = self.take()?;
            match instruction {
                b'.' => return self.pop(),
                _ => self.step(instruction)?,
            }
        }
    }

    /// The entries of a dictionary whose keys are texts; nothing for any other value.
    pub(super) fn entries(&self, value: &Value) -> impl Iterator<Item = (&Rc<str>, &Value)> {
        let map = match self.container(value) {
            Some(Container::Map(entries)) => &entries[..],
            _ => &[],
        };
        map.iter().filter_map(|(key, value)| match key {
            Value::Text(name) => Some((name, value)),
            _ => None,
        })
    }

    pub(super) fn container(&self, value: &Value) -> Option<&Container> {
        match value {
            Value::Container(index) => self.containers.get(*index),
            _ => None,
        }
    }

    fn step(&mut self, instruction: u8) -> Done {
        match instruction {
            // PROTO and FRAME say how the program is written.
            0x80 => drop(self.take::<1>()?),
            0x95 => drop(self.take::<8>()?),
            b'(' => self.stack.push(Value::Mark),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'N' => self.stack.push(Value::Other),
            0x88 => self.stack.push(Value::Number(1)),
            0x89 => self.stack.push(Value::Number(0)),
            b'K' => {
                let [number] = self.take()?;
                self.stack.push(Value::Number(number.into()));
            }
            b'M' => {
                let number = u16::from_le_bytes(self.take()?);
                self.stack.push(Value::Number(number.into()));
            }
            b'J' => {
                let number = i32::from_le_bytes(self.take()?);
                self.stack.push(Value::Number(number.into()));
            }
            0x8a => self.long()?,
            b'G' => {
                self.take::<8>()?;
                self.stack.push(Value::Other);
            }
            b'X' => {
                let length = u32::from_le_bytes(self.take()?);
                self.text(length as usize)?;
            }
            0x8c => {
                let [length] = self.take()?;
                self.text(length.into())?;
            }
            b']' | b')' => self.put(Container::Sequence(vec![])),
            b'}' => self.put(Container::Map(vec![])),
            b't' => {
                let values = self.since_mark()?;
                self.put(Container::Sequence(values));
            }
            0x85..=0x87 => {
                let count = usize::from(instruction - 0x84);
                let at = self.stack.len().checked_sub(count).ok_or(EMPTY)?;
                let values = self.stack.split_off(at);
                self.put(Container::Sequence(values));
            }
            b'a' => {
                let value = self.pop()?;
                self.extend(vec![value])?;
            }
            b'e' => {
                let values = self.since_mark()?;
                self.extend(values)?;
            }
            b's' => {
                let at = self.stack.len().checked_sub(2).ok_or(EMPTY)?;
                let values = self.stack.split_off(at);
                self.insert(values)?;
            }
            b'u' => {
                let values = self.since_mark()?;
                self.insert(values)?;
            }
            b'q' => {
                let [number] = self.take()?;
                self.remember(number.into())?;
            }
            b'r' => {
                let number = u32::from_le_bytes(self.take()?);
                self.remember(number as usize)?;
            }
            0x94 => self.remember(self.memo.len())?,
            b'h' => {
                let [number] = self.take()?;
                self.recall(number.into())?;
            }
            b'j' => {
                let number = u32::from_le_bytes(self.take()?);
                self.recall(number as usize)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.stack.push(Value::Global(Global::named(module, name)?));
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => {
                    self.stack
                        .push(Value::Global(Global::named(&module, &name)?));
                }
                _ => return Err("it names something by what is no text".into()),
            },
            b'R' => {
                let (arguments, called) = (self.pop()?, self.pop()?);
                self.call(called, &arguments)?;
            }
            b'b' => self.build()?,
            b'Q' => self.persistent()?,
            other => {
                return Err(format!(
                    "instruction {other:#04x} of its pickle is none that tensors need"
                ));
            }
        }
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Done<[u8; N]> {
        let (taken, rest) = self.program.split_first_chunk().ok_or(CUT_OFF)?;
        self.program = rest;
        Ok(*taken)
    }

    fn text(&mut self, length: usize) -> Done {
        let (text, rest) = self.program.split_at_checked(length).ok_or(CUT_OFF)?;
        self.program = rest;
        // Python writes lone surrogates, which are no text elsewhere.
        let text = String::from_utf8_lossy(text);
        self.stack.push(Value::Text(text.into()));
        Ok(())
    }

    fn line(&mut self) -> Done<&'a str> {
        let end = self
            .program
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or(CUT_OFF)?;
        let line = &self.program[..end];
        self.program = &self.program[end + 1..];
        std::str::from_utf8(line).map_err(|_| "it names something by what is no text".into())
    }

    /// A whole number of any size; those of more than eight bytes are no sizes.
    fn long(&mut self) -> Done {
        let [length] = self.take()?;
        let (bytes, rest) = self
            .program
            .split_at_checked(length.into())
            .ok_or(CUT_OFF)?;
        self.program = rest;
        let negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        self.stack.push(match bytes.len() {
            ..=8 => {
                wide[..bytes.len()].copy_from_slice(bytes);
                Value::Number(i64::from_le_bytes(wide))
            }
            _ => Value::Other,
        });
        Ok(())
    }

    fn pop(&mut self) -> Done<Value> {
        self.stack.pop().ok_or_else(|| EMPTY.into())
    }

    fn since_mark(&mut self) -> Done<Vec<Value>> {
        let mark = self
            .stack
            .iter()
            .rposition(|value| matches!(value, Value::Mark));
        let mark = mark.ok_or(EMPTY)?;
        let values = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(values)
    }

    fn put(&mut self, container: Container) {
        self.stack.push(Value::Container(self.containers.len()));
        self.containers.push(container);
    }

    fn remember(&mut self, number: usize) -> Done {
        let value = self.stack.last().ok_or(EMPTY)?.clone();
        self.memo.insert(number, value);
        Ok(())
    }

    fn recall(&mut self, number: usize) -> Done {
        let value = self
            .memo
            .get(&number)
            .ok_or("it recalls what it has not made")?;
        self.stack.push(value.clone());
        Ok(())
    }

    fn extend(&mut self, values: Vec<Value>) -> Done {
        match self.top()? {
            Container::Sequence(all) => all.extend(values),
            Container::Map(_) => {
                return Err("it adds a value without a name to a dictionary".into());
            }
        }
        Ok(())
    }

    fn insert(&mut self, values: Vec<Value>) -> Done {
        let Container::Map(all) = self.top()? else {
            return Err("it adds a name to what is no dictionary".into());
        };
        let mut values = values.into_iter();
        while let (Some(key), Some(value)) = (values.next(), values.next()) {
            all.push((key, value));
        }
        Ok(())
    }

    fn top(&mut self) -> Done<&mut Container> {
        match self.stack.last() {
            Some(Value::Container(index)) => Ok(&mut self.containers[*index]),
            _ => Err("it adds to what is no container".into()),
        }
    }

    fn call(&mut self, called: Value, arguments: &Value) -> Done {
        let Some(Container::Sequence(arguments)) = self.container(arguments) else {
            return Err("it calls with what are no arguments".into());
        };
        let made = match (&called, &arguments[..]) {
            (Value::Global(Global::OrderedDict), []) => {
                self.put(Container::Map(vec![]));
                return Ok(());
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

    /// Attributes of a dictionary, such as the version of each layer, are omitted.
    fn build(&mut self) -> Done {
        self.pop()?;
        match self.top()? {
            Container::Map(_) => Ok(()),
            Container::Sequence(_) => Err("it gives attributes to what is no dictionary".into()),
        }
    }

    fn persistent(&mut self) -> Done {
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
        ] = &values[..]
        else {
            return Err("it takes something from outside that is no storage".into());
        };
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
        self.stack.push(Value::Storage(Rc::new(storage)));
        Ok(())
    }
}

/// PyTorch's own limit.
const MOST_DIMENSIONS: usize = 64;
const CUT_OFF: &str = "its pickle is cut off";
const EMPTY: &str = "its pickle takes more from the stack than there is";

fn size(number: i64) -> Done<usize> {
    usize::try_from(number).map_err(|_| format!("{number} is no size"))
}
