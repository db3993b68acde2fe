//! TensorBoard event files: length-delimited protocol buffers, each with two masked CRC-32C sums.
//! Written by hand because scalars need three messages of it and no maintained crate writes them.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes scalars that the real TensorBoard reads.
pub(super) struct EventWriter {
    file: File,
}

impl EventWriter {
    /// A new event file in a folder; a resumed run starts another one from its clock.
    pub(super) fn create(folder: &Path, clock: u64) -> io::Result<Self> {
        let seconds = now() as u64;
        let name = format!("events.out.tfevents.{seconds:010}.{clock}.fewstep");
        let mut writer = Self {
            file: File::create(folder.join(name))?,
        };
        let mut event = message_head(0);
        field_bytes(&mut event, 3, b"brain.Event:2");
        writer.record(&event)?;
        Ok(writer)
    }

    /// Values of one step.
    pub(super) fn scalars(&mut self, step: u64, scalars: &[(String, f64)]) -> io::Result<()> {
        let mut summary = vec![];
        for (tag, value) in scalars {
            let mut entry = vec![];
            field_bytes(&mut entry, 1, tag.as_bytes());
            key(&mut entry, 2, 5);
            entry.extend_from_slice(&(*value as f32).to_le_bytes());
            field_bytes(&mut summary, 1, &entry);
        }
        let mut event = message_head(step);
        field_bytes(&mut event, 5, &summary);
        self.record(&event)
    }

    fn record(&mut self, data: &[u8]) -> io::Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let mut bytes = length.to_vec();
        bytes.extend_from_slice(&masked_crc(&length).to_le_bytes());
        bytes.extend_from_slice(data);
        bytes.extend_from_slice(&masked_crc(data).to_le_bytes());
        self.file.write_all(&bytes)
    }
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// `wall_time` (1, double) and `step` (2, varint) of an Event.
fn message_head(step: u64) -> Vec<u8> {
    let mut event = vec![];
    key(&mut event, 1, 1);
    event.extend_from_slice(&now().to_le_bytes());
    key(&mut event, 2, 0);
    varint(&mut event, step);
    event
}

fn key(out: &mut Vec<u8>, field: u64, wire_type: u64) {
    varint(out, field << 3 | wire_type);
}

fn field_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    key(out, field, 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32 with Castagnoli's polynomial, reflected.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc: u32, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_has_its_published_check_value() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn numbers_are_written_as_protocol_buffers_write_them() {
        let mut out = vec![];
        varint(&mut out, 300);
        assert_eq!(out, [0xac, 0x02]);
    }
}
