//! What the other tests lean on has to fail where it should.

mod docker_registry;
mod image_builder;
mod oracles;
mod real_images;
mod registry;
