"""The control process. `process` composes its parts, which are in rooms by subject.

`snapshots` makes and publishes snapshots, `lists` fetches and compiles lists, `devices` finds devices, `notices` makes
and sends notices, and `upkeep` does regular work. The modules here follow the policy and do what people ask for.

Workers run without it. Deliberately absent: anything that answers a query or a request of a device.
"""
