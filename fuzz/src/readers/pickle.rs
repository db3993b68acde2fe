//! Pickled weights: a whole archive, or only the program of one.

use fewstep_formats::unpickle;

pub fn read(bytes: &[u8]) -> bool {
    let archive = match bytes.starts_with(b"PK") {
        true => bytes.to_vec(),
        false => archive(&[("data.pkl", bytes), ("data/0", &[0; 64])]),
    };
    unpickle(&archive, "weights.pt").is_ok()
}

/// A zip archive without compression.
pub fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut archive, mut directory) = (vec![], vec![]);
    for (name, bytes) in files {
        let sizes = [bytes.len() as u32; 2].map(u32::to_le_bytes).concat();
        let name = format!("archive/{name}");
        // Version, flags, method, time, date and checksum, of which none matters.
        let start = [
            &[0; 14][..],
            &sizes,
            &(name.len() as u16).to_le_bytes(),
            &[0; 2],
        ]
        .concat();
        let at = (archive.len() as u32).to_le_bytes();
        directory.extend(b"PK\x01\x02\0\0");
        directory.extend(&start[..]);
        directory.extend([0; 10]);
        directory.extend(at);
        directory.extend(name.bytes());
        archive.extend(b"PK\x03\x04");
        archive.extend(start);
        archive.extend(name.bytes());
        archive.extend(*bytes);
    }
    let (at, size) = (archive.len() as u32, directory.len() as u32);
    archive.append(&mut directory);
    let count = (files.len() as u16).to_le_bytes();
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend([count, count].concat());
    archive.extend([size, at].map(u32::to_le_bytes).concat());
    archive.extend([0; 2]);
    archive
}
