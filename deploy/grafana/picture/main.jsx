// Draws one of the dashboards with Grafana's panel components, from numbers that Prometheus has:
//   index.html?prometheus=http://127.0.0.1:9090&dashboard=DASHBOARD.json&from=UNIX&to=UNIX
// It is not Grafana: variables, links and alerts aren't there.
import { createTheme, FieldColorModeId, getDisplayProcessor, getFieldDisplayName, toDataFrame, FieldType } from '@grafana/data';
import { BigValue, BigValueColorMode, BigValueGraphMode, GlobalStyles, PanelChrome, ThemeContext, TimeSeries,
         TooltipDisplayMode, LegendDisplayMode } from '@grafana/ui';
import { createRoot } from 'react-dom/client';

const parameters = new URLSearchParams(location.search);
const from = Number(parameters.get('from'));
const to = Number(parameters.get('to'));
const step = Math.max(1, Math.round((to - from) / 200));
const theme = createTheme({ colors: { mode: 'dark' } });
const CELL = { width: 1280 / 24, height: 36 };

function filled(expr) {
  return expr.replaceAll('$__rate_interval', '15s').replaceAll(/\$(namespace|run|pod)/g, '.*');
}

function named(legend, labels) {
  return legend.replaceAll(/{{\s*(\w+)\s*}}/g, (_, label) => labels[label] ?? '');
}

async function frames(panel) {
  const series = [];
  for (const target of panel.targets) {
    const query = new URLSearchParams({ query: filled(target.expr), start: from, end: to, step });
    const answer = await (await fetch(`${parameters.get('prometheus')}/api/v1/query_range?${query}`)).json();
    for (const result of answer.data.result) {
      const name = named(target.legendFormat, result.metric);
      const defaults = panel.fieldConfig.defaults;
      const frame = toDataFrame({
        fields: [
          { name: 'time', type: FieldType.time, values: result.values.map((value) => value[0] * 1000) },
          { name, type: FieldType.number, values: result.values.map((value) => (value[1] === 'NaN' ? null : Number(value[1]))),
            config: { ...defaults, displayName: name, custom: defaults.custom ?? {} } },
        ],
      });
      frame.fields[1].state = { seriesIndex: series.length };
      frame.fields.forEach((field) => { field.display = getDisplayProcessor({ field, theme }); });
      series.push(frame);
    }
  }
  return series;
}

function Body({ panel, series, width, height }) {
  if (panel.type === 'stat') {
    const shown = series.slice(0, 4);
    return <div style={{ display: 'flex' }}>{shown.map((frame, i) => {
      const field = frame.fields[1];
      const value = field.display(field.values[field.values.length - 1]);
      return <BigValue key={i} theme={theme} width={width / shown.length} height={height} colorMode={BigValueColorMode.Value}
                       graphMode={BigValueGraphMode.None}
                       value={{ ...value, title: shown.length > 1 ? getFieldDisplayName(field, frame) : '' }} />;
    })}</div>;
  }
  return <TimeSeries frames={series} width={width} height={height} timeZone="utc"
                     timeRange={{ from: { valueOf: () => from * 1000 }, to: { valueOf: () => to * 1000 }, raw: { from: '', to: '' } }}
                     legend={{ displayMode: LegendDisplayMode.List, placement: 'bottom', showLegend: true, calcs: [] }}
                     tooltip={{ mode: TooltipDisplayMode.None }} />;
}

async function draw() {
  const dashboard = await (await fetch(parameters.get('dashboard'))).json();
  const drawn = [];
  for (const panel of dashboard.panels) {
    const at = panel.gridPos;
    const [width, height] = [at.w * CELL.width - 8, at.h * CELL.height - 8];
    const style = { position: 'absolute', left: at.x * CELL.width + 4, top: at.y * CELL.height + 44, width, height };
    if (panel.type === 'row') {
      drawn.push(<div key={panel.id} style={{ ...style, color: '#ccccdc', fontSize: 15, paddingTop: 8 }}>⌄ {panel.title}</div>);
      continue;
    }
    const series = await frames(panel);
    drawn.push(<div key={panel.id} style={style}>
      <PanelChrome title={panel.title} width={width} height={height}>
        {(w, h) => series.length ? <Body panel={panel} series={series} width={w} height={h} /> : 'No data'}
      </PanelChrome></div>);
  }
  createRoot(document.getElementById('root')).render(
    <ThemeContext.Provider value={theme}><GlobalStyles />
      <div style={{ color: '#ccccdc', fontSize: 20, padding: '10px 8px' }}>{dashboard.title}</div>{drawn}
    </ThemeContext.Provider>);
}

draw();
