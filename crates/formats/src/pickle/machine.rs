//! The machine that a pickle is a program for, with only the instructions for data.

use super::tensor::Storage;
use super::value::{Container, Global, Value};
use std::collections::HashMap;
use std::rc::Rc;

pub(super) struct Machine<'a> {
    program: &'a [u8],
    pub(super) stack: Vec<Value>,
    memo: HashMap<usize, Value>,
    pub(super) containers: Vec<Container>,
    pub(super) storages: Vec<Rc<Storage>>,
}

pub(super) type Done<T = ()> = Result<T, String>;

impl<'a> Machine<'a> {
    pub(super) fn new(program: &'a [u8]) -> Self {
        Self {
            program,
            stack: vec![],
            memo: HashMap::new(),
            containers: vec![],
            storages: vec![],
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

    /// What follows the program.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.program
    }

    /// All storages that it has named.
    pub(super) fn storages(&self) -> &[Rc<Storage>] {
        &self.storages
    }

    /// The texts in a list.
    pub(super) fn texts(&self, value: &Value) -> Vec<Rc<str>> {
        let values = match self.container(value) {
            Some(Container::Sequence(values)) => &values[..],
            _ => &[],
        };
        let texts = values.iter().filter_map(|value| match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        });
        texts.collect()
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
            0x8a => {
                let [length] = self.take()?;
                self.long(length.into())?;
            }
            0x8b => {
                let length = u32::from_le_bytes(self.take()?);
                self.long(length as usize)?;
            }
            b'G' => {
                self.take::<8>()?;
                self.stack.push(Value::Other);
            }
            b'X' | b'T' => {
                let length = u32::from_le_bytes(self.take()?);
                self.text(length as usize)?;
            }
            0x8c | b'U' => {
                let [length] = self.take()?;
                self.text(length.into())?;
            }
            0x8d => {
                let length = u64::from_le_bytes(self.take()?);
                self.text(usize::try_from(length).map_err(|_| CUT_OFF)?)?;
            }
            b'C' => {
                let [length] = self.take()?;
                self.bytes(length.into())?;
            }
            b'B' => {
                let length = u32::from_le_bytes(self.take()?);
                self.bytes(length as usize)?;
            }
            0x8e | 0x96 => {
                let length = u64::from_le_bytes(self.take()?);
                self.bytes(usize::try_from(length).map_err(|_| CUT_OFF)?)?;
            }
            b'2' => {
                let top = self.stack.last().ok_or(EMPTY)?.clone();
                self.stack.push(top);
            }
            // Sets hold no tensors.
            0x8f => self.stack.push(Value::Other),
            0x90 => drop(self.since_mark()?),
            0x91 => {
                self.since_mark()?;
                self.stack.push(Value::Other);
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
                self.name(module, name);
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => self.name(&module, &name),
                _ => return Err("it names something by what is no text".into()),
            },
            // A function or a class is called with arguments.
            b'R' | 0x81 => {
                let (arguments, called) = (self.pop()?, self.pop()?);
                self.call(called, &arguments)?;
            }
            0x92 => {
                let (_, arguments, called) = (self.pop()?, self.pop()?, self.pop()?);
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

    fn bytes(&mut self, length: usize) -> Done {
        let (_, rest) = self.program.split_at_checked(length).ok_or(CUT_OFF)?;
        self.program = rest;
        self.stack.push(Value::Other);
        Ok(())
    }

    fn name(&mut self, module: &str, name: &str) {
        self.stack.push(match Global::named(module, name) {
            Some(global) => Value::Global(global),
            None => Value::Name(format!("{module}.{name}").into()),
        });
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
    fn long(&mut self, length: usize) -> Done {
        let (bytes, rest) = self.program.split_at_checked(length).ok_or(CUT_OFF)?;
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

    pub(super) fn pop(&mut self) -> Done<Value> {
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

    pub(super) fn put(&mut self, container: Container) {
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
            None => {}
            Some(Container::Sequence(all)) => all.extend(values),
            Some(Container::Map(_)) => {
                return Err("it adds a value without a name to a dictionary".into());
            }
        }
        Ok(())
    }

    fn insert(&mut self, values: Vec<Value>) -> Done {
        let all = match self.top()? {
            None => return Ok(()),
            Some(Container::Map(all)) => all,
            Some(Container::Sequence(_)) => {
                return Err("it adds a name to what is no dictionary".into());
            }
        };
        let mut values = values.into_iter();
        while let (Some(key), Some(value)) = (values.next(), values.next()) {
            all.push((key, value));
        }
        Ok(())
    }

    /// The container on top of the stack; none where it is something that nobody looks at.
    fn top(&mut self) -> Done<Option<&mut Container>> {
        match self.stack.last() {
            Some(Value::Container(index)) => Ok(Some(&mut self.containers[*index])),
            Some(Value::Other | Value::Name(_)) => Ok(None),
            _ => Err("it adds to what is no container".into()),
        }
    }
}

const CUT_OFF: &str = "its pickle is cut off";
pub(super) const EMPTY: &str = "its pickle takes more from the stack than there is";
