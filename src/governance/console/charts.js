// Charts over time by uPlot, renewed in place. Colours come from the page's style, so that they follow its theme.

import { minute, time } from './format.js'

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()

/** Ticks at whole minutes need no seconds. */
function clock(atMs, ticks) {
  const needsSeconds = ticks.some((at) => at % 60 !== 0)
  return needsSeconds ? time(atMs) : minute(atMs)
}

/** uPlot's options that all charts share. */
function frame(width, height, { axes, series, bands, hooks, utc }) {
  const grid = { stroke: css('--line'), width: 1 }
  const ink = { stroke: css('--faint'), font: '12px system-ui', grid, ticks: { show: false } }
  return {
    width,
    height,
    padding: [10, 26, 0, 0],
    series: [{}, ...series],
    bands,
    hooks,
    tzDate: (at) => (utc ? uPlot.tzDate(new Date(at * 1e3), 'Etc/UTC') : new Date(at * 1e3)),
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { show: false } },
    scales: { x: { time: true }, y: { range: (_, __, max) => [0, Math.max(max * 1.08, 1e-9)] } },
    axes: [
      { ...ink, size: 28, values: (_, ticks) => ticks.map((at) => clock(at * 1000, ticks)) },
      { ...ink, size: 56, values: (_, ticks) => ticks.map(axes) },
    ],
  }
}

/** Draws into `element` once, and afterwards changes only data and size; a change of theme or zone draws anew. */
export function draw(element, { data, height = 170, ...options }) {
  const width = element.clientWidth
  if (width === 0) return
  const look = `${css('--page')} ${options.utc}`
  if (element.chart && element.look === look) {
    element.chart.setData(data)
    if (element.chart.width !== width) element.chart.setSize({ width, height })
    return
  }
  element.chart?.destroy()
  element.chart = new uPlot(frame(width, height, options), data, element)
  element.look = look
}

/** A horizontal line with its name, such as a deadline. */
export function rule(value, label) {
  return (u) => {
    if (value === null || value > u.scales.y.max) return
    const y = Math.round(u.valToPos(value, 'y', true))
    const { ctx, bbox } = u
    ctx.save()
    ctx.strokeStyle = ctx.fillStyle = css('--decline')
    ctx.setLineDash([6, 4])
    ctx.beginPath()
    ctx.moveTo(bbox.left, y)
    ctx.lineTo(bbox.left + bbox.width, y)
    ctx.stroke()
    ctx.font = `${12 * devicePixelRatio}px system-ui`
    ctx.textAlign = 'left'
    ctx.fillText(label, bbox.left + 6, y - 5 * devicePixelRatio)
    ctx.restore()
  }
}

/** Lines stacked on each other: sums from the last to the first. */
export function stacked(rows) {
  const sums = rows.map((row) => [...row])
  for (let i = sums.length - 2; i >= 0; i--) sums[i] = sums[i].map((value, at) => value + sums[i + 1][at])
  return sums
}

export const colour = css
