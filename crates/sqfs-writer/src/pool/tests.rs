use std::thread;

use bytes::Bytes;

use super::*;

/// Takes the first byte of a block for the whole.
struct First;

impl Codec for First {
    fn name(&self) -> &'static str {
        "first"
    }

    fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<bool> {
        output.clear();
        output.extend(input.first());
        Ok(true)
    }
}

#[test]
fn threads_that_cannot_be_started_are_left_out() {
    let codecs = Codecs::for_tests(|| Ok(Box::new(First)));
    for allowed in 0..4 {
        let mut started = 0;
        let mut pool = Pool::with_spawn(4, &codecs, |work| {
            if started == allowed {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            started += 1;
            thread::Builder::new().spawn(work)
        })
        .unwrap();
        assert_eq!(pool.threads(), allowed + 1);
        for ticket in 0..20u8 {
            let block = Block::lent(Bytes::from(vec![ticket; 100]));
            pool.submit(ticket.into(), block, Effort::Compress);
        }
        let mut answers: Vec<_> = (0..20)
            .map(|_| {
                let answer = pool.wait().unwrap();
                (answer.ticket, answer.result.unwrap().output)
            })
            .collect();
        answers.sort();
        let expected: Vec<_> = (0..20u8).map(|n| (n.into(), vec![n])).collect();
        assert_eq!(answers, expected, "{allowed} threads");
    }
}
