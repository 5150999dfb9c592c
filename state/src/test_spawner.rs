//! Plain threads for tests.

use std::io;

#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadSpawner;

impl thalweg_io::Spawner for ThreadSpawner {
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        std::thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
    }
}
