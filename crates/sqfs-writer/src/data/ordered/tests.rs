use std::io;
use std::time::Duration;

use super::*;
use crate::compress::{Codec, Codecs};

/// Takes longer for some blocks than for others, so that they come back out of order; refuses and
/// panics on demand.
struct Moody;

impl Codec for Moody {
    fn name(&self) -> &'static str {
        "moody"
    }

    fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<bool> {
        output.clear();
        match input {
            [b'!', ..] => panic!("asked for"),
            [b'?', ..] => return Err(io::Error::other("asked for")),
            [first, ..] => {
                std::thread::sleep(Duration::from_micros(u64::from(first % 7) * 100));
                output.push(*first);
            }
            [] => {}
        }
        Ok(true)
    }
}

fn queue(threads: usize) -> Ordered<u32> {
    let codecs = Codecs::for_tests(|| Ok(Box::new(Moody)));
    Ordered::new(Pool::new(threads, &codecs).unwrap(), 4096, 3 * threads)
}

fn submit(queue: &mut Ordered<u32>, number: u32, first: u8) {
    let mut block = queue.block().unwrap();
    block.push(&[first; 100]);
    queue.submit(number, block, Effort::Compress);
}

/// Below the bytes that ask for trouble.
fn first(number: u32) -> u8 {
    u8::try_from(number % 32).unwrap()
}

#[test]
fn results_come_in_order_of_submission_within_the_limit() {
    for threads in [1, 2, 3, 8] {
        let mut queue = queue(threads);
        let mut seen = 0;
        let mut take = |queue: &mut Ordered<u32>, wait| {
            while let Some((number, block)) = queue.next(wait).unwrap() {
                assert_eq!(number, seen);
                assert_eq!(block.stored(), [first(number)]);
                queue.done(block);
                seen += 1;
            }
            assert!(queue.slots.len() <= queue.limit);
        };
        for number in 0..300u32 {
            submit(&mut queue, number, first(number));
            take(&mut queue, Wait::OverBudget);
        }
        take(&mut queue, Wait::Always);
        assert_eq!(seen, 300);
        assert!(queue.spare_blocks.len() <= queue.limit + 1, "{threads}");
    }
}

#[test]
fn codec_failure_or_panic_is_an_error_and_no_hang() {
    for (first, message) in [(b'?', "asked for"), (b'!', "it panicked")] {
        for threads in [2, 3] {
            let mut queue = queue(threads);
            for number in 0..4 {
                submit(&mut queue, number, if number == 1 { first } else { 1 });
            }
            let error = loop {
                match queue.next(Wait::Always) {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("the block that failed was taken for good"),
                    Err(error) => break error,
                }
            };
            let Error::Codec { codec, source } = error else {
                panic!("{error:?}");
            };
            assert_eq!((codec, source.to_string().as_str()), ("moody", message));
        }
    }
}

#[test]
fn panicked_threads_are_an_error_and_no_hang() {
    let mut queue = queue(2);
    for number in 0..2 {
        submit(&mut queue, number, b'!');
    }
    assert!(queue.next(Wait::Always).is_err());
    assert!(queue.next(Wait::Always).is_err());
    // The calling thread is left to do this one, unless it saw first that the other one is gone.
    submit(&mut queue, 2, 1);
    let result = queue.next(Wait::Always);
    assert!(matches!(result, Ok(Some(_)) | Err(Error::Thread(_))));
}

#[test]
fn dropping_it_with_work_in_it_ends_the_threads() {
    let mut queue = queue(3);
    for number in 0..9 {
        submit(&mut queue, number, 6);
    }
    drop(queue);
}
