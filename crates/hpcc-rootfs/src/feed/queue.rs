//! A bounded queue between two threads that does not wake them for every single item.
//!
//! A thread that fell asleep because the queue was empty is woken when the queue is half full, and one that slept
//! because it was full when it is half empty. If each item woke a thread, two threads would take turns on a core
//! thousands of times a second, each with cold caches.
//!
//! So an item may wait while its receiver sleeps, until the sender has more, is dropped, or announces that it may take
//! long.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Returns the two ends of a queue for `capacity` items, at least one.
pub(super) fn queue<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            items: VecDeque::new(),
            open: true,
            sender_asleep: false,
            receiver_asleep: false,
        }),
        capacity: capacity.max(1),
        room: Condvar::new(),
        items: Condvar::new(),
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// The end that adds items. When it is dropped, the receiver gets the remaining items and then `None`.
pub(super) struct Sender<T>(Arc<Shared<T>>);

/// The end that takes items. When it is dropped, nothing can be sent any more.
pub(super) struct Receiver<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    capacity: usize,
    /// Wakes the sender.
    room: Condvar,
    /// Wakes the receiver.
    items: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    /// Whether both ends exist.
    open: bool,
    /// Whether the sender sleeps and was not woken yet.
    sender_asleep: bool,
    receiver_asleep: bool,
}

impl<T> Shared<T> {
    /// Locks the state. Nothing can panic while the lock is held.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the queue for one end, because the other end has nothing more to wait for.
    fn close(&self) {
        self.lock().open = false;
        self.room.notify_one();
        self.items.notify_one();
    }
}

/// Sleeps until the other end wakes this one or is dropped.
fn sleep<'a, T>(
    mut state: MutexGuard<'a, State<T>>,
    until: &Condvar,
    asleep: fn(&mut State<T>) -> &mut bool,
) -> MutexGuard<'a, State<T>> {
    *asleep(&mut state) = true;
    state = until
        .wait_while(state, |state| state.open && *asleep(state))
        .unwrap_or_else(PoisonError::into_inner);
    *asleep(&mut state) = false;
    state
}

impl<T> Sender<T> {
    /// Waits for capacity and adds the item. Returns `false` if the receiver was dropped.
    pub(super) fn send(&self, item: T) -> bool {
        let Self(shared) = self;
        let mut state = shared.lock();
        if state.items.len() >= shared.capacity {
            state = sleep(state, &shared.room, |state| &mut state.sender_asleep);
        }
        if !state.open {
            return false;
        }
        state.items.push_back(item);
        let half_full = state.items.len() >= shared.capacity.div_ceil(2);
        let wake = half_full && std::mem::take(&mut state.receiver_asleep);
        drop(state);
        if wake {
            shared.items.notify_one();
        }
        true
    }

    /// Makes the receiver take the items, however few. For a sender that may take long to return.
    pub(super) fn flush(&self) {
        let Self(shared) = self;
        let mut state = shared.lock();
        let wake = !state.items.is_empty() && std::mem::take(&mut state.receiver_asleep);
        drop(state);
        if wake {
            shared.items.notify_one();
        }
    }
}

impl<T> Receiver<T> {
    /// Waits for the oldest item and returns it. Returns `None` once the sender was dropped and everything was taken.
    pub(super) fn recv(&self) -> Option<T> {
        let Self(shared) = self;
        let mut state = shared.lock();
        if state.items.is_empty() && state.open {
            state = sleep(state, &shared.items, |state| &mut state.receiver_asleep);
        }
        let item = state.items.pop_front();
        let half_empty = state.items.len() <= shared.capacity / 2;
        let wake = half_empty && std::mem::take(&mut state.sender_asleep);
        drop(state);
        if wake {
            shared.room.notify_one();
        }
        item
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.close();
        // The items may keep something of the sender alive. They are dropped after the lock was released.
        let items = std::mem::take(&mut self.0.lock().items);
        drop(items);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Waits until the other end sleeps.
    fn until<T>(shared: &Shared<T>, asleep: impl Fn(&State<T>) -> bool) {
        while !asleep(&shared.lock()) {
            thread::yield_now();
        }
    }

    #[test]
    fn everything_arrives_in_order_through_queues_of_any_size() {
        for capacity in [0, 1, 2, 3, 7, 1000] {
            let (sender, receiver) = queue(capacity);
            let sending = thread::spawn(move || (0..500).all(|item| sender.send(item)));
            let mut received = Vec::new();
            while let Some(item) = receiver.recv() {
                received.push(item);
                assert!(receiver.0.lock().items.len() <= capacity.max(1));
            }
            assert!(sending.join().unwrap());
            assert_eq!(received, Vec::from_iter(0..500), "{capacity}");
            assert_eq!(receiver.recv(), None);
        }
    }

    #[test]
    fn a_receiver_sleeps_until_it_is_half_full() {
        let (sender, receiver) = queue(4);
        let shared = Arc::clone(&receiver.0);
        let receiving = thread::spawn(move || receiver.recv());
        until(&shared, |state| state.receiver_asleep);
        assert!(sender.send('a'));
        assert!(shared.lock().receiver_asleep);
        assert!(sender.send('b'));
        assert_eq!(receiving.join().unwrap(), Some('a'));
        assert!(!shared.lock().receiver_asleep);
    }

    #[test]
    fn receiver_takes_fewer_items_after_a_flush() {
        let (sender, receiver) = queue(100);
        let shared = Arc::clone(&receiver.0);
        let receiving = thread::spawn(move || receiver.recv());
        until(&shared, |state| state.receiver_asleep);
        sender.flush();
        assert!(shared.lock().receiver_asleep, "there is nothing to take");
        assert!(sender.send('a'));
        sender.flush();
        assert_eq!(receiving.join().unwrap(), Some('a'));
    }

    #[test]
    fn receiver_that_need_not_sleep_takes_waiting_items() {
        let (sender, receiver) = queue(4);
        assert!(sender.send('a'));
        assert_eq!(receiver.recv(), Some('a'));
    }

    #[test]
    fn a_sender_sleeps_until_it_is_half_empty() {
        let (sender, receiver) = queue(4);
        assert!((0..4).all(|item| sender.send(item)));
        let shared = Arc::clone(&sender.0);
        let sending = thread::spawn(move || sender.send(4));
        until(&shared, |state| state.sender_asleep);
        assert_eq!(receiver.recv(), Some(0));
        assert!(shared.lock().sender_asleep);
        assert_eq!(shared.lock().items, [1, 2, 3]);
        assert_eq!(receiver.recv(), Some(1));
        assert!(sending.join().unwrap());
        assert_eq!(receiver.recv(), Some(2));
    }

    #[test]
    fn an_end_that_goes_wakes_the_other_one() {
        let (sender, receiver) = queue(100);
        let shared = Arc::clone(&receiver.0);
        let receiving = thread::spawn(move || [receiver.recv(), receiver.recv()]);
        until(&shared, |state| state.receiver_asleep);
        assert!(sender.send('a'));
        drop(sender);
        assert_eq!(receiving.join().unwrap(), [Some('a'), None]);

        let (sender, receiver) = queue(1);
        assert!(sender.send('a'));
        let shared = Arc::clone(&sender.0);
        let sending = thread::spawn(move || sender.send('b'));
        until(&shared, |state| state.sender_asleep);
        drop(receiver);
        assert!(!sending.join().unwrap());
    }

    #[test]
    fn untaken_items_are_dropped_with_the_receiver() {
        let (sender, receiver) = queue(2);
        let item = Arc::new(());
        assert!(sender.send(Arc::clone(&item)));
        drop(receiver);
        assert_eq!(Arc::strong_count(&item), 1);
        assert!(!sender.send(Arc::clone(&item)));
        assert_eq!(Arc::strong_count(&item), 1);
    }
}
