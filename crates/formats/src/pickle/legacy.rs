//! Files of PyTorch before 1.6: pickles one after another, then the values of the storages.

use super::archive::Archive;
use super::machine::Machine;
use super::value::Value;
use std::collections::HashMap;

/// How such a file starts: the pickle of a number of its own.
pub(super) const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// The machine that has made what is stored, that value, and the values of its storages.
pub(super) fn read(bytes: &[u8]) -> Result<(Machine<'_>, Value, Archive<'_>), String> {
    const CUT_OFF: &str = "its end is missing: copy or download it again";
    // The version of the format, and facts about the machine.
    let mut version = Machine::new(&bytes[MAGIC.len()..]);
    version.run()?;
    let mut facts = Machine::new(version.rest());
    let said = facts.run()?;
    let order = facts
        .entries(&said)
        .find(|(name, _)| name.as_ref() == "little_endian");
    if matches!(order, Some((_, Value::Number(0)))) {
        return Err("it was written on a big-endian machine".into());
    }
    let mut machine = Machine::new(facts.rest());
    let stored = machine.run()?;
    let mut keys = Machine::new(machine.rest());
    let listed = keys.run()?;
    let mut values = keys.rest();
    let mut files = HashMap::new();
    for key in keys.texts(&listed) {
        let storage = machine.storages().iter().find(|storage| storage.key == key);
        let storage = storage.ok_or_else(|| format!("nothing uses its storage `{key}`"))?;
        let (length, rest) = values.split_first_chunk().ok_or(CUT_OFF)?;
        let size = (storage.dtype.bitsize() / 8) as u64;
        let length = u64::from_le_bytes(*length).checked_mul(size);
        let length = length.and_then(|length| usize::try_from(length).ok());
        let (data, rest) = length
            .and_then(|length| rest.split_at_checked(length))
            .ok_or(CUT_OFF)?;
        files.insert(format!("data/{key}"), data);
        values = rest;
    }
    Ok((machine, stored, Archive::of(files)))
}
