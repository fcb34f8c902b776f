// Names of segments: monitors store all decisions under '', which an address could not carry; people see and ask for *.

export const storedSegment = (segment: string | null): string => (segment === null || segment === '*' ? '' : segment)

export const shownSegment = (segment: string): string => (segment === '' ? '*' : segment)
