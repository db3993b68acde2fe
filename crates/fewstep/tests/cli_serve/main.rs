//! `fewstep serve` over HTTP.

mod a1111;
mod access;
mod bench;
mod control;
mod fields;
mod images;
mod loras;
mod openai;
mod page;
mod restyle;
#[path = "../server/mod.rs"]
mod server;
#[path = "../tiny/mod.rs"]
mod tiny;
mod work;
#[path = "../workspace/mod.rs"]
mod workspace;

use fewstep_data::ImageShape;
use fewstep_data::image::Image;
use server::Server;

/// A server in a folder of its own.
fn start(words: &[&str]) -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), words);
    (folder, server)
}

/// An image of 16x16 pixels, all of one value.
fn grey(channels: usize, value: u8) -> Image {
    let shape = ImageShape {
        channels,
        height: 16,
        width: 16,
    };
    Image::filled(shape, value)
}
