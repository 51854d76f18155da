"""The journal: decisions at the level of detail that each person's privacy allows, and the state that came of them.

Nouns: `Store` (a database seen from one site; `Dialect` is all that differs between engines) · `EventSender` (a
worker's side: passes messages on, never waits) · `EventReceiver` (control's side) · `Recorder` (writes batches) ·
`GrantStore` (requests, grants and pauses) · `JournalReader` (typed rows for the pages).

Deliberately absent: visits to lifelines. Privacy is applied before anything gets here (`policies.privacy.observe`), and
both the event sender and the recorder refuse lifelines again. Also absent: rules, and the presentation of metrics.
"""
