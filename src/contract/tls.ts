// TLS of a listener as the configuration has it: certificate and key in PEM files, read at the start.
import { type Static, Type } from '@sinclair/typebox'

const File = Type.String({ minLength: 1 })

/** null: none. */
export const ListenerTls = Type.Union([
  Type.Object(
    {
      /** The certificate, then those between it and the authority. */
      cert_file: File,
      key_file: File,
      /** Authorities of the clients: whoever shows no certificate of theirs is turned away. */
      ca_file: Type.Optional(Type.Union([File, Type.Null()])),
    },
    { additionalProperties: false },
  ),
  Type.Null(),
])
export type ListenerTls = Static<typeof ListenerTls>
