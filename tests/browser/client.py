# This file is part of TryCoTon.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""The desktop client, telling what it shows.

Started by the Python that has the client: ``client.py FILE OPTION… URL``.
At the signal USR1 it writes to the file, as JSON, the texts that are visible
with their places on the screen.  FILE.pid holds its process."""
import json
import os
import signal
import sys

import gi

gi.require_version('Gdk', '3.0')
gi.require_version('Gtk', '3.0')

from gi.repository import GLib, Gtk  # noqa: E402


def look():
    "Return what is seen, from the windows in front to those behind"
    seen = []
    for window in Gtk.Window.list_toplevels():
        if window.get_mapped():
            _walk(window, seen)
    return seen


def _walk(widget, seen):
    if not (widget.get_mapped() and widget.get_child_visible()):
        return
    if isinstance(widget, Gtk.TreeView):
        _rows(widget, seen)
    elif text := _text(widget):
        _add(widget, text, seen)
    if isinstance(widget, Gtk.Container):
        widget.forall(_walk, seen)


def _text(widget):
    if isinstance(widget, Gtk.Label):
        return widget.get_text()
    if isinstance(widget, Gtk.Entry):
        return widget.get_text() if widget.get_visibility() else '*'
    if isinstance(widget, Gtk.TextView):
        buffer = widget.get_buffer()
        return buffer.get_text(*buffer.get_bounds(), False)
    if isinstance(widget, Gtk.ComboBox) and not widget.get_has_entry():
        iter_ = widget.get_active_iter()
        column = max(widget.get_entry_text_column(), 0)
        return str(widget.get_model()[iter_][column]) if iter_ else ''


def _rows(view, seen):
    model = view.get_model()
    shown = view.get_visible_range()
    if not (model and shown):
        return
    path, last = shown
    while path and path <= last:
        iter_ = model.get_iter(path)
        for column in view.get_columns():
            if not column.get_visible():
                continue
            column.cell_set_cell_data(model, iter_, False, False)
            for cell in column.get_cells():
                if (isinstance(cell, Gtk.CellRendererText)
                        and cell.get_visible() and cell.props.text):
                    area = view.get_cell_area(path, column)
                    x, y = view.convert_bin_window_to_widget_coords(
                        area.x, area.y)
                    _add(view, cell.props.text, seen, x, y,
                        area.width, area.height)
        path = _next(view, model, path, iter_)


def _next(view, model, path, iter_):
    if view.row_expanded(path):
        path.down()
        return path
    while iter_:
        if next_ := model.iter_next(iter_):
            return model.get_path(next_)
        iter_ = model.iter_parent(iter_)


def _add(widget, text, seen, x=0, y=0, width=None, height=None):
    window = Gtk.Widget.get_window(widget)
    if not window:
        return
    _, left, top = window.get_origin()
    if not widget.get_has_window():
        area = widget.get_allocation()
        left, top = left + area.x, top + area.y
    seen.append({
            'text': text,
            'kind': type(widget).__name__,
            'x': left + x,
            'y': top + y,
            'width': widget.get_allocated_width() if width is None else width,
            'height': (
                widget.get_allocated_height() if height is None else height),
            })


def main():
    path = sys.argv.pop(1)

    def tell():
        temporary = f'{path}.new'
        with open(temporary, 'w', encoding='utf-8') as file:
            json.dump(look(), file)
        os.replace(temporary, path)
        return True

    GLib.unix_signal_add(GLib.PRIORITY_LOW, signal.SIGUSR1, tell)
    with open(f'{path}.pid', 'w') as file:
        file.write(f'{os.getpid()}\n')
    from tryton.client import main
    main()


if __name__ == '__main__':
    main()
