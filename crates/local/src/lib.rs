//! Stand-ins for the services Switchyard runs on, for one machine.
